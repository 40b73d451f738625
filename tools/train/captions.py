"""What the demo world can show, and the words people may use for it.

One caption is a walk through slots (article, size, colour, shape, speed, motion, background, light, weather) in
one of several orders. Every slot has paraphrases. A slot may stay unsaid: at the start of a video that leaves the
choice to the model, after a prompt change it means "as before". Now and then words that mean nothing to this world
are mixed in, so that the model learns to look past them.

Captions are made on the device as token ids, straight from tables, because a training step wants thousands a second.
SentencePiece never joins pieces across white space, so the ids of a caption are the ids of its words in a row;
`tests/` of this folder (selftest.py) checks that against the real tokenizer.
"""
import random

SHAPES = ["ball", "square", "triangle", "star", "heart", "ring", "cross", "moon"]
COLOURS = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black"]
SIZES = ["small", "normal", "big"]
SPEEDS = ["slow", "normal", "fast"]
MOTIONS = ["still", "left", "right", "up", "down", "bounce", "spin", "circle", "pulse", "sway"]
BACKGROUNDS = ["ocean", "hills", "desert", "mountains", "city", "forest", "underwater", "space", "wall"]
LIGHTS = ["day", "dusk", "night"]
WEATHERS = ["clear", "rain", "snow"]
OUTDOOR = 6  # backgrounds before this index have light and weather

# One (shape, colour) pair for each shape is never seen in training: yellow ball, blue square, white triangle, ...
HELD_OUT = [(s, (3 * s + 2) % len(COLOURS)) for s in range(len(SHAPES))]

TEXT_LEN = 40
PAD, EOS, UNK = 0, 1, 2

PHRASES = {
    "article": [["a"], ["an"], ["the"], ["one"]],
    "size": [["small", "tiny", "little"], ["", "", ""], ["big", "large", "huge"]],
    "colour": [["red"], ["orange"], ["yellow"], ["green"], ["cyan", "turquoise"], ["blue"], ["purple", "violet"],
               ["pink"], ["white"], ["black"]],
    "shape": [["ball", "circle", "sphere"], ["square", "box", "cube"], ["triangle"], ["star"], ["heart"],
              ["ring", "hoop", "donut"], ["cross", "plus", "plus sign"], ["moon", "crescent", "crescent moon"]],
    "speed": [["slowly", "gently"], ["", ""], ["quickly", "fast"]],
    "motion": [["standing still", "at rest", "not moving", "staying in place"],
               ["drifting left", "moving to the left", "gliding left", "flying left", "moving left"],
               ["drifting right", "moving to the right", "gliding right", "flying right", "moving right"],
               ["rising", "moving up", "floating upward", "climbing up"],
               ["falling", "moving down", "sinking", "dropping down"],
               ["bouncing", "bouncing up and down", "hopping", "jumping"],
               ["spinning", "rotating", "turning around"],
               ["circling", "moving in a circle", "circling around", "flying in circles"],
               ["pulsing", "growing and shrinking", "beating"],
               ["swaying", "swinging", "moving side to side"]],
    "background": [["over the ocean", "above ocean waves", "at sea", "over the sea"],
                   ["over green hills", "above a green field", "in a meadow", "over the hills"],
                   ["in the desert", "over sand dunes", "above desert sand"],
                   ["over snowy mountains", "in the mountains", "in front of mountains"],
                   ["over a city", "in the city", "above city buildings", "in town"],
                   ["in a forest", "in front of trees", "in the woods"],
                   ["underwater", "under water", "in the deep sea", "under the sea"],
                   ["in space", "in outer space", "among the stars"],
                   ["in front of a wall", "on a gray wall", "on a plain background", "in a room"]],
    "light": [["by day", "in daylight", "", "", "", ""], ["at dusk", "at sunset", "in the evening"],
              ["at night", "by night", "in the dark"]],
    "weather": [["", ""], ["in the rain", "while it rains", "with rain"],
                ["in falling snow", "while it snows", "with snow"]],
}
LEADS = ["show", "please show", "a video of", "there is", "now", "imagine", "i want to see", "make it", "draw",
         "it becomes", "turn it into", "let us see", "here is"]

# Words a visitor may type that this world does not know. They get pieces of their own and turn up as noise.
COMMON = """about after again all also always and another any are around as away back be beautiful because before best
better bird black bright but by can car cat child come could cute dark day did do dog dream even every eye face fairy
fantasy far fire fish flower food for friend from full game get girl give glowing go gold good great green happy has have
he her him his home horse hot house how i if in into is it just keep kind king know lady last let life light like
live long look lot love made magic make man many may me men might more most much must my new next nice no not of off
old on only or other our out over own people person picture place play pretty put queen really river road robot round
run sad said same say scene school see she shiny should sing sky so some soft something still strange such sun
sunny super sweet take tell than that their them then there they thing think this time to today together too train
tree two under up use very walk warm was water way we well went were what when where which while who why wild wind
wings winter with woman wonderful wood word work world would yes you young your""".split()


def known_words():
    """Every word the captions use for something the model can draw."""
    words = {w for slot in PHRASES.values() for options in slot for p in options for w in p.split()}
    return sorted(words)


def corpus(lines=30000, seed=7):
    """Sentences to train the tokenizer on: captions, the common words, and single letters."""
    r = random.Random(seed)
    pick = lambda slot: r.choice(r.choice(PHRASES[slot]))
    for _ in range(lines):
        parts = [" ".join([pick("article"), pick("size"), pick("colour"), pick("shape")]),
                 " ".join([pick("speed"), pick("motion")]), pick("background"), pick("light"), pick("weather")]
        if r.random() < .5:
            r.shuffle(parts)
        if r.random() < .3:
            parts.insert(0, r.choice(LEADS))
        if r.random() < .3:
            parts.append(r.choice(COMMON))
        yield (", " if r.random() < .15 else " ").join(p.strip() for p in parts if p.strip())
    for w in known_words():  # alone and often: each must become one piece
        for _ in range(400):
            yield w
    for w in COMMON:
        for _ in range(100):
            yield w
    for c in "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-":
        for _ in range(20):
            yield c


class Captioner:
    """Caption tables on a device. `encode` turns one word or phrase into a list of token ids."""

    def __init__(self, encode, device):
        import torch
        self.torch, self.device = torch, device
        self.comma = encode("a,")[-1]
        self.tables = {slot: self._table(encode, options) for slot, options in PHRASES.items()}
        self.leads = self._table(encode, [LEADS])
        noise = [w for w in COMMON if w not in known_words()]
        self.noise = self._table(encode, [noise])
        self.orange = COLOURS.index("orange")

    def _table(self, encode, options):
        torch = self.torch
        ids = [[encode(p) if p else [] for p in phrases] for phrases in options]
        count = max(len(p) for p in ids)
        length = max(len(i) for p in ids for i in p)
        table = torch.zeros(len(ids), count, length, dtype=torch.long)
        for a, phrases in enumerate(ids):
            for b in range(count):
                # Options with fewer paraphrases repeat theirs, so that a uniform draw stays nearly uniform.
                for c, token in enumerate(phrases[b % len(phrases)]):
                    table[a, b, c] = token
        return table.to(self.device)

    def _draw(self, table, index):
        choice = self.torch.randint(0, table.shape[1], index.shape, device=self.device)
        return table[index, choice]

    def __call__(self, spec, must=None, say=.88, plain=False):
        """Token ids [B, TEXT_LEN] of captions for `spec` (dict of index tensors [B], see world.py).

        `must` marks, per slot, rows where the slot may not stay unsaid (something that changed). `plain` leaves out
        leads, noise and omissions: used for evaluation prompts.
        """
        torch, B = self.torch, len(spec["shape"])
        chance = lambda p: (torch.rand(B, device=self.device) < p)[:, None].long()
        slot = {k: self._draw(self.tables[k], spec[k]) for k in
                ("size", "colour", "shape", "speed", "motion", "background", "light", "weather")}
        slot["light"] = slot["light"] * (spec["background"] < OUTDOOR)[:, None].long()
        if not plain:
            for k in ("size", "colour", "motion", "background", "light", "weather"):
                said = chance(say if k != "colour" else .97)
                if must is not None and k in must:
                    said = said | must[k][:, None].long()
                slot[k] = slot[k] * said
                if k == "motion":
                    slot["speed"] = slot["speed"] * said
        article = torch.tensor([0, 0, 2, 3], device=self.device)[torch.randint(0, 4, (B,), device=self.device)]
        bare = (spec["colour"] == self.orange) & (slot["size"].sum(1) == 0) & (slot["colour"].sum(1) > 0)
        article = torch.where(bare & (article == 0), torch.ones_like(article), article)
        thing = torch.cat([self.tables["article"][article, 0], slot["size"], slot["colour"], slot["shape"]], 1)
        early = chance(.6)
        motion = torch.cat([slot["speed"] * early, slot["motion"], slot["speed"] * (1 - early)], 1)
        motion = motion * (slot["motion"].sum(1, keepdim=True) > 0)
        zero = torch.zeros(B, dtype=torch.long, device=self.device)
        rare = 0. if plain else 1.
        lead = self._draw(self.leads, zero) * chance(.15 * rare)
        noise = self._draw(self.noise, zero) * chance(.12 * rare)
        comma = torch.full((B, 1), self.comma, device=self.device) * chance(.15)
        back, light, weather = slot["background"], slot["light"], slot["weather"]
        back_first = torch.cat([back, light], 1)
        orders = [(thing, motion, noise, back, light, weather), (thing, motion, comma, back, light, weather),
                  (back, light, weather, comma * (back_first.sum(1, keepdim=True) > 0), thing, motion, noise),
                  (light, back, noise, thing, motion, weather), (thing, back, light, weather, motion, noise),
                  (weather, noise, thing, motion, back, light), (thing, motion, weather, back, light, noise)]
        eos = torch.full((B, 1), EOS, device=self.device)
        width = 48
        rows = [torch.cat((lead,) + o + (eos,), 1) for o in orders]
        rows = torch.stack([torch.nn.functional.pad(r, (0, width - r.shape[1])) for r in rows], 1)
        which = torch.multinomial(torch.tensor([.3, .1, .15, .1, .15, .1, .1], device=self.device), B, replacement=True)
        ids = rows[torch.arange(B, device=self.device), which]
        packed = torch.argsort((ids == PAD).long(), dim=1, stable=True)
        return torch.gather(ids, 1, packed)[:, :TEXT_LEN]
