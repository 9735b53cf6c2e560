"""The lines for the shell in docs/serving.md that ask the server, run against one."""
import json
import os
import re
import subprocess
import sys
import unittest

from serving import SIDE, Server, ServingTest

GUIDE = os.path.join(os.environ.get("CRESSET_SOURCE", "."), "docs", "serving.md")


class GuideTest(ServingTest):
    def test_lines(self):
        with open(GUIDE, encoding="utf-8") as file:
            text = file.read()
        lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
                 for line in block.splitlines()]
        self.assertGreater(len(lines), 6)
        with open(os.path.join(self.folder, "picture.png"), "wb") as file:
            file.write(self.pictures[0])
        with open(os.path.join(self.folder, "keys"), "w", encoding="utf-8") as file:
            file.write("0123456789abcdef0123\n")
        request = json.loads(re.search(r"^```json\n(\{\"id\".*?\})\n```", text, re.M | re.S)[1]
                             .replace("[0, 0.5, …]", json.dumps([0] * (SIDE * SIDE))))
        with open(os.path.join(self.folder, "request.json"), "w", encoding="utf-8") as file:
            json.dump(request, file)
        with Server(f"clothes={self.model}") as server:
            for line in lines:
                self.assertTrue(line.startswith("curl "), line)
                line = line.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{server.port}")
                done = subprocess.run(line.replace("curl ", "curl -sS --fail-with-body ", 1),
                                      shell=True, cwd=self.folder, capture_output=True, text=True,
                                      check=False)
                self.assertEqual(done.returncode, 0, f"{line}: {done.stdout}{done.stderr}")
                if "/infer" in line:
                    output = json.loads(done.stdout)["outputs"][0]
                    self.assertEqual(output["shape"], [1, 3])

    def test_limits(self):
        """The table says what the header says."""
        header = os.path.join(os.path.dirname(GUIDE), "..", "include", "cresset", "serve.h")
        with open(header, encoding="utf-8") as file:
            code = file.read()
        with open(GUIDE, encoding="utf-8") as file:
            guide = file.read().replace(",", "")
        for name, shift in re.findall(r"CR_SERVE_MAX_(DEPTH|TENSORS|PARTS|VALUES|ELEMENTS) +(\S.*?)"
                                      r" +/\*", code):
            value = eval(shift.replace("(int64_t)", "")) # pylint: disable=eval-used
            self.assertIn(str(value), guide, name)


if __name__ == "__main__":
    if subprocess.run(["sh", "-c", "command -v curl"], capture_output=True, check=False).returncode:
        print("skipped: curl is not installed")
        sys.exit(77)
    unittest.main()
