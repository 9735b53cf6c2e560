"""`cresset info`: for people and for programs."""
import unittest

from command import CommandTest


class InfoTest(CommandTest):
    def test_text(self):
        text = self.assert_done("info")
        for word in ("cresset", "build", "processor", "kernels", "threads", "memory"):
            self.assertRegex(text, rf"(?m)^{word} ")

    def test_json(self):
        answer = self.assert_json("info", "--json")
        self.assertGreater(answer["threads"], 0)
        self.assertGreater(answer["memory"]["total_bytes"], 0)
        self.assertIn(answer["cpu"]["isa"], answer["cpu"]["isas"])
        self.assertEqual(len(answer["cpu"]["cache_bytes"]), 3)

    def test_environment(self):
        answer = self.assert_json("info", "--json",
                                  env={"CRESSET_ISA": "portable", "CRESSET_THREADS": "1"})
        self.assertEqual(answer["cpu"]["isa"], "portable")
        self.assertEqual(answer["threads"], 1)


if __name__ == "__main__":
    unittest.main()
