#!/usr/bin/env python3
"""Writes the typing scripts of config/typing: make.py [FOLDER].

Everything is drawn once, with a fixed seed for each file, so that the files are the same on every machine; they are
committed, and a run of `kinetype load` draws nothing but the time of each key. The format is in load/script.h.
"""
import json
import pathlib
import random
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMITS = 40
PAUSE_MS = (200, 1500)  # between the last key and Enter
WATCH_MS = (800, 2600)  # after Enter, before the next idea
THINK_MS = (300, 1100)  # in the middle of a prompt
THINKS = 0.12  # of the gaps between words
TYPOS = 0.025  # of the letters
NEIGHBOURS = {"a": "s", "b": "v", "c": "x", "d": "f", "e": "r", "f": "g", "g": "h", "h": "j", "i": "o", "j": "k", "k": "l",
              "l": "k", "m": "n", "n": "b", "o": "p", "p": "o", "q": "w", "r": "t", "s": "d", "t": "y", "u": "i", "v": "b",
              "w": "e", "x": "c", "y": "u", "z": "x"}

SLOTS = {
    "size": ["small", "tiny", "big", "large", "huge", "little"],
    "colour": ["red", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black", "orange"],
    "shape": ["ball", "square", "triangle", "star", "heart", "ring", "cross", "moon"],
    "motion": ["standing still", "gliding left", "drifting right", "rising", "falling", "bouncing", "spinning",
               "circling around", "pulsing", "swaying"],
    "background": ["over the ocean", "over green hills", "in the desert", "over snowy mountains", "over a city",
                   "in a forest", "underwater", "in outer space", "in front of a wall"],
    "light": ["by day", "at sunset", "at night", "in the rain", "with snow"],
}
INDOOR = ("underwater", "in outer space", "in front of a wall")  # these have neither light nor weather

SUBJECTS = ["a young woman in a long green coat", "an old fisherman with a grey beard", "a brown horse with a white mane",
            "a small robot of dented copper", "a dancer in a red dress"]
SETTINGS = ["in a narrow street of an old harbour town after the rain", "in a wide meadow below a ridge of bare mountains",
            "in the hall of a railway station with a high glass roof", "on a frozen lake between dark fir trees",
            "on a beach of black sand with slow heavy waves"]
LOOKS = ["Warm light falls from the left and draws long shadows on the ground.",
         "The sky is overcast, the light soft and even, the colours quiet.",
         "Lamps glow in the blue hour and mirror themselves in every wet stone.",
         "Low sun stands behind the scene and puts a bright rim on every edge."]
CAMERAS = ["The camera follows at walking pace and at the height of the eyes.",
           "The camera stands still; a wide shot with much sky above the horizon.",
           "The camera circles slowly and comes closer, with a shallow depth of field.",
           "A long lens from afar, with slow movements and a calm frame."]
STYLES = ["Natural skin and cloth, fine grain, the look of a modern feature film.",
          "Documentary look, real textures, nothing staged, high detail."]
ACTIONS = ["walks towards the camera", "stops and looks back over the shoulder", "sits down and looks at the water",
           "begins to run", "turns around slowly", "lifts the head and looks at the sky", "crosses the picture from left to right"]


class Hand:
    """Writes actions as a person makes them."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.lines = []
        self.enters = 0

    def do(self, what, **fields):
        self.lines.append(json.dumps({"do": what, **fields}, ensure_ascii=False))

    def between(self, limits):
        return self.r.randint(limits[0] // 10, limits[1] // 10) * 10

    def type(self, text):
        """Text with thinking between words and mistakes that are noticed at once or a few letters later."""
        run, i = "", 0
        while i < len(text):
            letter = text[i]
            if letter in NEIGHBOURS and self.r.random() < TYPOS:
                more = min(self.r.choice([0, 0, 1, 2, 3]), len(text) - i - 1)
                self.do("type", text=run + NEIGHBOURS[letter] + text[i + 1:i + 1 + more])
                self.do("wait", ms=self.between((150, 450)))
                self.do("erase", keys=1 + more)
                run = ""
            run += letter
            i += 1
            if letter == " " and self.r.random() < THINKS:
                self.do("type", text=run)
                self.do("wait", ms=self.between(THINK_MS))
                run = ""
        if run:
            self.do("type", text=run)

    def enter(self):
        self.do("enter", pause_ms=self.between(PAUSE_MS))
        self.do("wait", ms=self.between(WATCH_MS))
        self.enters += 1

    def replace(self, old, new):
        """Marks the words and types over them, or takes them away letter by letter."""
        if self.r.random() < 0.5:
            self.do("select", text=old)
        else:
            self.do("caret", after=old)
            self.do("erase", keys=len(old))
        self.type(new)


def render(p):
    parts = ["a", p["size"], p["colour"], p["shape"], p["motion"], p["background"], p["light"]]
    return " ".join(part for part in parts if part)


def new_prompt(r):
    p = {slot: r.choice(options) for slot, options in SLOTS.items()}
    if p["background"] in INDOOR or r.random() < 0.4:
        p["light"] = ""
    return p


def other(r, slot, now):
    return r.choice([o for o in SLOTS[slot] if o != now])


def whole(hand, p):
    hand.do("select")
    hand.type(render(p))
    hand.enter()


def one_word(hand, p, slots):
    slot = hand.r.choice(slots)
    new = other(hand.r, slot, p[slot])
    hand.replace(p[slot], new)
    p[slot] = new
    hand.enter()


def retype_end(hand, p):
    """Takes the end of the sentence away, key by key, and types another."""
    old = render(p)
    while render(p) == old:
        p["background"] = other(hand.r, "background", p["background"])
        p["light"] = "" if p["background"] in INDOOR else hand.r.choice(SLOTS["light"] + [""])
    new = render(p)
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    hand.do("caret")
    if same < len(old):
        hand.do("erase", keys=len(old) - same)
    hand.type(new[same:])
    hand.enter()


def editing():
    """One word at a time; a new prompt after every seven, so that clients may begin at several places."""
    hand = Hand(11)
    while hand.enters < COMMITS:
        if hand.enters % 8 == 0:
            p = new_prompt(hand.r)
            whole(hand, p)
        one_word(hand, p, ["colour", "colour", "shape", "shape", "size", "motion", "background"])
    return hand


def typing():
    hand = Hand(7)
    p = new_prompt(hand.r)
    whole(hand, p)
    while hand.enters < COMMITS:
        kind = hand.r.random()
        if kind < 0.45:
            one_word(hand, p, ["colour", "shape", "motion", "background"])
        elif kind < 0.65:
            retype_end(hand, p)
        else:
            p = new_prompt(hand.r)
            whole(hand, p)
    return hand


def capital(text):
    return text[0].upper() + text[1:]


def long_prompt(r):
    subject, action, setting = r.choice(SUBJECTS), r.choice(ACTIONS), r.choice(SETTINGS)
    text = " ".join([f"{capital(subject)} {action} {setting}.", r.choice(LOOKS), r.choice(CAMERAS), r.choice(STYLES)])
    return {"subject": subject, "action": action, "setting": setting, "text": text}


def paste(hand):
    p = long_prompt(hand.r)
    hand.do("select")
    hand.do("paste", text=p["text"])
    hand.enter()
    return p


def long():
    """Prompts of some sixty words: pasted, then led on by a phrase or a sentence at a time."""
    hand = Hand(3)
    p = paste(hand)
    while hand.enters < COMMITS:
        kind = hand.r.random()
        if kind < 0.3:
            p = paste(hand)
        elif kind < 0.7:
            action = hand.r.choice([a for a in ACTIONS if a not in p["text"]] or ACTIONS)
            hand.replace(p["action"], action)
            p["text"] = p["text"].replace(p["action"], action, 1)
            p["action"] = action
            hand.enter()
        else:
            more = f" Now {p['subject']} {hand.r.choice(ACTIONS)}."
            hand.do("caret")
            hand.type(more)
            p["text"] += more
            hand.enter()
        if len(p["text"]) > 900:
            p = paste(hand) if hand.enters < COMMITS else p
    return hand


def check_words(hand):
    known = set(json.loads((ROOT / "models/demo/config.json").read_text())["vocabulary"]["known_words"])
    for slot in SLOTS.values():
        for phrase in slot:
            assert set(phrase.split()) <= known, phrase


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "config" / "typing"
    for name, hand in (("typing", typing()), ("editing", editing()), ("long", long())):
        if name != "long":
            check_words(hand)
        text = "\n".join(hand.lines) + "\n"
        assert re.search(r'"erase"', text)
        (folder / f"{name}.jsonl").write_text(text)


if __name__ == "__main__":
    main()
