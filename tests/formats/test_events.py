#!/usr/bin/env python3
"""Event files: what write_events wrote, value by value. Run as: test_events.py PROGRAM, the program
being write_events."""

import math
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import tfevents
from tfevents import double, fields

PROGRAM = sys.argv.pop(1)


class Events(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([PROGRAM, folder + "/new/run"], check=True, text=True,
                                  stdout=subprocess.PIPE)
            cls.path = done.stdout.strip()
            cls.events = tfevents.events(cls.path)

    def values(self, tag):
        """(event, value) of all values of a tag."""
        found = []
        for event in self.events:
            for summary in event.get(5, []):
                value = fields(fields(summary)[1][0])
                if value[1] == [tag.encode()]:
                    found.append((event, value))
        return found

    def tensor(self, tag, plugin, dtype):
        """The shape and the message of a tag's tensor, its plugin and dtype checked."""
        (_, value), = self.values(tag)
        metadata = fields(value[9][0])
        self.assertEqual(fields(metadata[1][0])[1], [plugin.encode()])
        self.assertEqual(metadata[4], [2])
        tensor = fields(value[8][0])
        self.assertEqual(tensor[1], [dtype])
        shape = [fields(dim)[1][0] for dim in fields(tensor[2][0])[2]]
        return shape, tensor

    def histogram(self, tag):
        (rows, columns), tensor = self.tensor(tag, "histograms", 2)
        self.assertEqual(columns, 3)
        raw = tensor[6][0]
        self.assertEqual(len(raw), rows * 24)
        return [struct.unpack_from("<3d", raw, 24 * row) for row in range(rows)]

    def test_the_file_says_what_it_is(self):
        self.assertRegex(self.path, r"/events\.out\.tfevents\.\d{10}\.[^/]+\.\d+\.0$")
        self.assertEqual(self.events[0][3], [b"brain.Event:2"])
        self.assertLess(abs(double(self.events[0][1][0]) - time.time()), 600)

    def test_a_resumed_run_purges(self):
        self.assertEqual(self.events[1][2], [7])
        self.assertEqual(fields(self.events[1][7][0]), {1: [1]})

    def test_scalars(self):
        first, second, third = self.values("loss/train")
        self.assertEqual((first[0][2], double(first[0][1][0])), ([7], 1234.5))
        self.assertEqual(struct.unpack("<f", first[1][2][0])[0], 0.625)
        self.assertEqual(second[0][2], [1 << 40])
        self.assertLess(abs(double(second[0][1][0]) - time.time()), 600)
        self.assertEqual(second[1][2][0], struct.pack("<f", -1e-3))
        self.assertTrue(math.isnan(struct.unpack("<f", third[1][2][0])[0]))

    def test_texts(self):
        shape, tensor = self.tensor("notes", "text", 7)
        self.assertEqual(shape, [1])
        self.assertEqual(tensor[8], ["# Größe\nwörtlich".encode()])

    def test_pictures(self):
        (event, value), = self.values("pixel")
        image = fields(value[4][0])
        self.assertEqual((event[2], image[1], image[2], image[3]), ([2], [1], [1], [1]))
        self.assertEqual(image[4][0][:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(image[4][0][-8:-4], b"IEND")

    def test_histograms(self):
        rows = self.histogram("weights")
        self.assertEqual(len(rows), 30)
        self.assertEqual((rows[0][0], rows[-1][1]), (0, 3))
        for left, right in zip(rows, rows[1:]):
            self.assertEqual(left[1], right[0])
        counts = {index: row[2] for index, row in enumerate(rows) if row[2]}
        self.assertEqual(counts, {0: 1, 10: 2, 20: 1, 29: 1})
        self.assertEqual(self.histogram("equal"), [(3.5, 4.5, 6)])

    def test_an_empty_tensor_has_no_buckets(self):
        self.assertEqual(self.tensor("empty", "histograms", 2)[0], [0, 3])


if __name__ == "__main__":
    unittest.main()
