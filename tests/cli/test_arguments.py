"""Words, options and exit statuses: what is right is taken in every usual form, and what is wrong
is answered with one sentence and the right status."""
import re
import subprocess
import unittest

from command import CRESSET, CommandTest, commands, run


class GeneralTest(CommandTest):
    def test_no_words_is_wrong_usage(self):
        result = run()
        self.assertEqual(result.returncode, 2)
        self.assertIn("Usage", result.stderr)
        self.assertEqual(result.stdout, "")

    def test_version(self):
        for word in ("--version", "-V"):
            self.assertRegex(self.assert_done(word), r"^cresset \d+\.\d+\.\d+\n$")

    def test_unknown_command(self):
        self.assert_refused(2, 'did you mean "info"?', "inof")
        self.assert_refused(2, "see cresset --help", "xyzzyplugh")
        self.assert_refused(2, 'did you mean "train"?', "help", "tarin")
        self.assert_refused(2, 'no option "--wrong"', "--wrong")

    def test_unknown_option(self):
        self.assert_refused(2, "no option --jsno; did you mean --json?", "info", "--jsno")
        self.assert_refused(2, "no option --zzzzzzzz; see cresset info --help", "info",
                            "--zzzzzzzz")
        self.assert_refused(2, "no option -Z", "info", "-Z")

    def test_flags(self):
        self.assert_refused(2, "--json takes no value", "info", "--json=1")
        self.assertNotIn("{", self.assert_done("info", "--json", "--no-json"))

    def test_too_many_words(self):
        self.assert_refused(2, '"more" is one word too many', "info", "more")
        self.assert_refused(2, '"--json" is one word too many', "info", "--", "--json")

    def test_missing_word(self):
        self.assert_refused(2, "cresset completion bash|zsh|fish", "completion")

    def test_full_disk(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([CRESSET, "info"], stdout=full, stderr=subprocess.PIPE,
                                    text=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn("No space left", result.stderr)


class HelpTest(CommandTest):
    def test_general_help_lists_commands(self):
        self.assertGreaterEqual(len(commands()), 3)
        self.assertEqual(self.assert_done("--help"), self.assert_done("help"))

    def test_help_of_each_command(self):
        for name in commands():
            with self.subTest(name):
                text = self.assert_done(name, "--help")
                self.assertEqual(text, self.assert_done("help", name))
                self.assertEqual(text, self.assert_done(name, "-h"))
                self.assertTrue(text.startswith(f"Usage: cresset {name}"))
                self.assertIn("\nExamples\n", text)
                self.assertIn("--help", text)

    def test_help_wins_over_mistakes(self):
        self.assert_done("info", "--wrong", "--help")

    def test_width(self):
        for name in commands():
            for width in (40, 80, 100):
                text = self.assert_done(name, "--help", env={"COLUMNS": str(width)})
                body = text.split("\nExamples\n")[0]
                if width >= 80:
                    longest = max(map(len, body.splitlines()))
                    self.assertLessEqual(longest, width, f"{name} at {width}")

    def test_no_colour_when_not_on_a_terminal(self):
        for name in commands():
            self.assertNotIn("\033", self.assert_done(name, "--help"))

    def test_examples_use_options_that_exist(self):
        for name in commands():
            text = self.assert_done(name, "--help")
            options = set(re.findall(r"--[a-z0-9-]+", text.split("\nExamples\n")[0]))
            for line in text.split("\nExamples\n")[1].splitlines():
                if re.match(rf"      (\S+=\S+ )?cresset {name}", line):
                    for option in re.findall(r"--[a-z0-9-]+", line.split("|")[0]):
                        self.assertIn(option, options, line)


if __name__ == "__main__":
    unittest.main()
