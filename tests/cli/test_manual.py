"""What is made from the option tables besides the help: the manual page, the completions and the
reference in docs/. Each mentions every option, and the tools that read them find no fault."""
import os
import re
import shutil
import subprocess
import unittest

from command import FolderTest, commands

SOURCE = os.environ.get("CRESSET_SOURCE", ".")


def options(test, name):
    """The long options of a command, as its help lists them."""
    text = test.assert_done(name, "--help").split("\nExamples\n")[0]
    return re.findall(r"^  (?:-\w, |    )--([a-z0-9-]+)", text, re.MULTILINE)


def check(test, tool, *words):
    if not shutil.which(tool):
        test.skipTest(f"{tool} is not installed")
    result = subprocess.run([tool, *words], capture_output=True, text=True)
    test.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout[-2000:])
    return result.stdout


class ManualTest(FolderTest):
    def write(self, name, text):
        path = self.path(name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_man_page_mentions_every_option(self):
        text = self.assert_done("help", "--man").replace("\\-", "-")
        for name in commands():
            self.assertIn(f".SS cresset {name}\n", text)
            for option in options(self, name):
                self.assertIn(f"--{option}", text, name)

    def test_man_page_renders_without_warnings(self):
        path = self.write("cresset.1", self.assert_done("help", "--man"))
        text = check(self, "groff", "-man", "-Tutf8", "-P-c", "-ww", path)
        self.assertIn("EXIT STATUS", re.sub(".\b", "", text))

    def test_man_page_passes_mandoc(self):
        path = self.write("cresset.1", self.assert_done("help", "--man"))
        if not shutil.which("mandoc"):
            self.skipTest("mandoc is not installed")
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True,
                              text=True).stdout.splitlines()
        # The page has no date, so that a build gives the same bytes on any day.
        self.assertEqual([line for line in lint if "missing date" not in line], [])

    def test_reference_is_up_to_date(self):
        with open(os.path.join(SOURCE, "docs", "command.md")) as file:
            self.assertEqual(file.read(), self.assert_done("help", "--markdown"),
                             "run: build/cresset help --markdown > docs/command.md")

    def test_completions_mention_every_option(self):
        for shell in ("bash", "zsh", "fish"):
            text = self.assert_done("completion", shell)
            for name in commands():
                for option in options(self, name):
                    mark = f"-l {option} " if shell == "fish" else f"--{option}"
                    self.assertIn(mark, text, f"{shell}: {name}")

    def test_completions_parse(self):
        for shell in ("bash", "zsh", "fish"):
            with self.subTest(shell):
                path = self.write(f"completion.{shell}", self.assert_done("completion", shell))
                check(self, shell, "-n", path)

    def test_unknown_shell(self):
        self.assert_refused(2, "only for bash, zsh and fish", "completion", "tcsh")

    def complete(self, *words):
        """What bash offers for the last of the words."""
        path = self.write("completion.bash", self.assert_done("completion", "bash"))
        script = (f"source {path}; COMP_WORDS=({' '.join(repr(w) for w in words)}); "
                  f"COMP_CWORD={len(words) - 1}; compopt() {{ :; }}; _cresset; "
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        return check(self, "bash", "-c", script).split()

    def test_bash_completes(self):
        self.assertEqual(self.complete("cresset", "comp"), ["completion"])
        self.assertEqual(self.complete("cresset", "info", "--js"), ["--json"])
        self.assertEqual(self.complete("cresset", "completion", "z"), ["zsh"])
        self.assertEqual(self.complete("cresset", "models", "resnet3"), ["resnet34"])
        self.assertEqual(self.complete("cresset", "train", "-m", "resnet3"), ["resnet34"])
        self.assertEqual(self.complete("cresset", "train", "--schedule", "=", "one"),
                         ["one-cycle"])
        self.assertEqual(self.complete("cresset", "train", "--epochs", ""), [])


if __name__ == "__main__":
    unittest.main()
