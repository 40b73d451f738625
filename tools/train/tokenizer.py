"""Trains and loads the demo model's SentencePiece vocabulary (unigram, T5 ids: pad 0, eos 1, unk 2).

    python3 -m tools.train.tokenizer models/demo/spiece.model
"""
import os
import sys
import tempfile

from . import captions

PIECES = 512


def train(path, pieces=PIECES):
    import sentencepiece as spm
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
        f.write("\n".join(captions.corpus()) + "\n")
        f.flush()
        prefix = path[:-len(".model")]
        spm.SentencePieceTrainer.train(
            input=f.name, model_prefix=prefix, model_type="unigram", vocab_size=pieces, character_coverage=1.0,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>",
            normalization_rule_name="nmt_nfkc_cf", hard_vocab_limit=False, num_threads=2, minloglevel=2)
        os.remove(prefix + ".vocab")


def load(path):
    import sentencepiece as spm
    return spm.SentencePieceProcessor(model_file=path)


def main():
    path = sys.argv[1]
    train(path)
    sp = load(path)
    whole = [w for w in captions.known_words() if len(sp.encode(w)) == 1]
    words = captions.known_words()
    print(f"{sp.get_piece_size()} pieces; {len(whole)} of {len(words)} known words are one piece; "
          f"split: {[w for w in words if w not in whole]}")


if __name__ == "__main__":
    main()
