"""The tensor tables at the released models' sizes have the released models' parameter counts."""
import math
import unittest

import support  # noqa: F401  puts the converter on the path
import geometry


class Shaped:
    def __init__(self, *shape):
        self.shape = shape


def parameters(table):
    return sum(math.prod(shape) for shape in table.values())


class GeometryTest(unittest.TestCase):
    def test_wan_1_3b(self):
        config, table = geometry.dit("", {
            "patch_embedding.weight": Shaped(1536, 16, 1, 2, 2),
            "blocks.0.ffn.0.weight": Shaped(8960, 1536),
            "text_embedding.0.weight": Shaped(1536, 4096),
            "time_embedding.0.weight": Shaped(1536, 256),
            "head.head.weight": Shaped(64, 1536), "blocks.29.modulation": Shaped(1, 6, 1536)})
        self.assertEqual((len(table), parameters(table)), (825, 1_418_996_800))
        self.assertEqual((config["num_heads"], config["num_layers"]), (12, 30))

    def test_umt5_xxl(self):
        _, table = geometry.umt5("", {
            "token_embedding.weight": Shaped(256384, 4096),
            "blocks.0.attn.q.weight": Shaped(4096, 4096),
            "blocks.0.ffn.gate.0.weight": Shaped(10240, 4096),
            "blocks.0.pos_embedding.embedding.weight": Shaped(32, 64),
            "blocks.23.norm1.weight": Shaped(4096)})
        self.assertEqual((len(table), parameters(table)), (242, 5_680_910_336))

    def test_wan_vae(self):
        table = {}
        geometry.conv(table, "conv1", 32, 32, 1, 1, 1)
        geometry.conv(table, "conv2", 16, 16, 1, 1, 1)
        geometry.vae_decoder(table, 96, 16, [1, 2, 4, 4], 2, [True, True, False])
        geometry.vae_encoder(table, 96, 16, [1, 2, 4, 4], 2, [False, True, True])
        self.assertEqual((len(table), parameters(table)), (194, 126_892_531))


if __name__ == "__main__":
    unittest.main()
