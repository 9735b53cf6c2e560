"""A reader of TensorBoard's event files that shares nothing with the writer: records, checksums and
messages are decoded by hand."""
import struct


def crc32c(data):
    """Castagnoli's CRC bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    """The data of all records, checksums checked."""
    while data:
        length, = struct.unpack_from("<Q", data)
        assert masked(data[:8]) == struct.unpack_from("<I", data, 8)[0], "sum of a length"
        body = data[12:12 + length]
        assert masked(body) == struct.unpack_from("<I", data, 12 + length)[0], "sum of data"
        yield body
        data = data[16 + length:]


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data):
    """{number: [values]} of a message: integers, raw 8 or 4 bytes, or the bytes of what is nested.
    """
    found, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            if key & 7 == 2:
                size, at = varint(data, at)
            value, at = data[at:at + size], at + size
            assert len(value) == size, "a field goes over the end"
        found.setdefault(key >> 3, []).append(value)
    return found


def double(raw):
    return struct.unpack("<d", raw)[0]


def events(path):
    """The events of a file, each as the fields of its message."""
    with open(path, "rb") as file:
        return [fields(record) for record in records(file.read())]


def scalars(path):
    """{tag: {step: value}} of the simple values in a file."""
    found = {}
    for event in events(path):
        for summary in event.get(5, []):
            value = fields(fields(summary)[1][0])
            if 2 in value:
                tag = value[1][0].decode()
                found.setdefault(tag, {})[event[2][0]] = struct.unpack("<f", value[2][0])[0]
    return found
