"""Pictures of every format that the program reads, with what Pillow makes of them.

`python Tools/picture_fixtures.py swift` writes Tests/ImagingTests/PillowPictures.swift: small files and the checksums of Pillow's pixels, which
`FormatTests` compares with ours; `make format` afterwards. `python Tools/picture_fixtures.py folder DIRECTORY [SEED [COUNT]]` writes random files of the same kinds, each with
FILE.ref beside it: width, height, whether it is transparent, then the bytes of the pixels, and of their opacity if it is. It needs Pillow 13
and NumPy.

Pillow writes what it can; other files, such as TIFFs in tiles or planes and old BMPs, are put together here.
"""

import base64
import io
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent


# What Pillow says ------------------------------------------------------------------------------------------------------------------


def reference(data):
    """Width, height, pixels, opacity (or None) as the program should have them; None where Pillow refuses the file."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        image = ImageOps.exif_transpose(image)
        opacity = None
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info and image.mode in ("P", "L", "1"):
            opacity = np.asarray(image.convert("RGBA"))[:, :, 3]
            if opacity.min() == 255:
                opacity = None
        if image.mode.startswith("I;16"):
            # The one difference: the high byte, where Pillow clips to white.
            grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
            pixels = np.stack([grey] * 3, axis=2)
        else:
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises nearly anything
        return None, f"{type(error).__name__}: {error}"
    height, width = pixels.shape[:2]
    return (width, height, pixels.tobytes(), None if opacity is None else opacity.tobytes()), None


# Pictures --------------------------------------------------------------------------------------------------------------------------


class Maker:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def size(self):
        return int(self.random.integers(1, 24)), int(self.random.integers(1, 20))

    def bytes(self, *shape):
        """Noise on a slope, so that coders have something to do."""
        noise = self.random.integers(0, 256, shape)
        if self.random.integers(0, 2):
            noise = noise // 8 + np.add.outer(np.arange(shape[0]) * 5, np.arange(shape[1]) * 3).reshape(
                shape[:2] + (1,) * (len(shape) - 2)
            )
        return (noise % 256).astype(np.uint8)

    def image(self, mode, width, height):
        channels = len(Image.new(mode, (1, 1)).getbands())
        if mode == "1":
            return Image.fromarray(self.bytes(height, width) // 128 * 255).convert("1", dither=0)
        if mode == "P":
            image = Image.fromarray(self.bytes(height, width)).convert("P")
            image.putpalette(self.random.integers(0, 256, 768).astype(np.uint8).tobytes())
            return image
        data = self.bytes(height, width, channels) if channels > 1 else self.bytes(height, width)
        return Image.frombytes(mode, (width, height), data.tobytes())

    def choose(self, *options):
        return options[int(self.random.integers(0, len(options)))]

    def saved(self, image, kind, **options):
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    def exif(self):
        exif = Image.Exif()
        exif[0x0112] = int(self.random.integers(1, 9))
        return exif

    # WebP

    def webp_lossy(self):
        return self.saved(self.image("RGB", *self.size()), "WEBP", quality=60)

    def webp_lossless(self):
        return self.saved(self.image("RGB", *self.size()), "WEBP", lossless=True)

    def webp_lossy_alpha(self):
        return self.saved(self.image("RGBA", *self.size()), "WEBP", quality=80)

    def webp_lossless_alpha(self):
        return self.saved(self.image("RGBA", *self.size()), "WEBP", lossless=True, exact=bool(self.random.integers(0, 2)))

    def webp_oriented(self):
        return self.saved(self.image("RGB", *self.size()), "WEBP", lossless=True, exif=self.exif())

    def webp_animated(self):
        width, height = self.size()
        frames = [self.image("RGBA", width, height) for _ in range(3)]
        return self.saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)

    def webp_animated_part(self):
        """Its first frame is smaller than the canvas."""
        frame = self.saved(self.image("RGBA", 6, 4), "WEBP", lossless=True)
        chunks = frame[12:]
        chunk = chunks[chunks.index(b"VP8L") :]
        u24 = lambda value: struct.pack("<I", value)[:3]
        part = u24(2 // 2) + u24(4 // 2) + u24(5) + u24(3) + u24(100) + b"\0" + chunk
        body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + bytes([0x12, 0, 0, 0]) + u24(11) + u24(9)
        body += b"ANIM" + struct.pack("<IIH", 6, 0xFF112233, 0)
        for _ in range(2):
            body += b"ANMF" + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
        return b"RIFF" + struct.pack("<I", len(body)) + body

    # GIF

    def gif_still(self):
        return self.saved(self.image("P", *self.size()), "GIF", interlace=int(self.random.integers(0, 2)))

    def gif_grey(self):
        return self.saved(self.image("L", *self.size()), "GIF")

    def gif_transparent(self):
        return self.saved(self.image("P", *self.size()), "GIF", transparency=int(self.random.integers(0, 256)))

    def gif_animated(self):
        width, height = self.size()
        frames = [self.image("P", width, height) for _ in range(3)]
        return self.saved(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0)

    def gif_made(self):
        """Frames that do not fill the canvas, or stick out of it; palettes that are missing or too small; in rows that are interlaced."""
        (width, height), (left, top) = self.size(), self.random.integers(0, 5, 2).tolist()
        canvas = (width + int(self.random.integers(-2, 6)), height + int(self.random.integers(-2, 6)))
        colours = self.choose(4, 16, 256)
        bits = {4: 1, 16: 3, 256: 7}[colours]
        palette = self.random.integers(0, 256, 3 * colours).astype(np.uint8).tobytes()
        glob, local, see = self.random.integers(0, 2, 3).tolist()
        data = b"GIF89a" + struct.pack("<HH", max(1, canvas[0]), max(1, canvas[1]))
        data += bytes([0x80 * glob | 0x70 | bits, 3, 0]) + palette * glob
        data += b"!\xfe\x05hello\0"
        if see:
            data += b"!\xf9\x04" + bytes([1, 5, 0, int(self.random.integers(0, colours)), 0])
        data += b"," + struct.pack("<HHHH", left, top, width, height)
        data += bytes([0x80 * local | 0x40 * int(self.random.integers(0, 2)) | bits])
        if local:
            data += self.random.integers(0, 256, 3 * colours).astype(np.uint8).tobytes()
        code_size = max(2, bits + 1)
        pixels = self.random.integers(0, 1 << code_size, width * height)
        return data + bytes([code_size]) + blocks(literal_codes(pixels.tolist(), code_size)) + b";"

    # BMP

    def bmp_saved(self):
        return self.saved(self.image(self.choose("1", "L", "P", "RGB", "RGBA"), *self.size()), "BMP")

    def bmp_made(self):
        width, height = self.size()
        bits = self.choose(1, 4, 8, 16, 24, 32)
        top_down = bool(self.random.integers(0, 2))
        header = self.choose(12, 40, 64, 108, 124) if bits != 16 else self.choose(40, 108)
        colours = 1 << bits if bits <= 8 else 0
        palette = self.random.integers(0, 256, (colours, 4)).astype(np.uint8)
        rows = self.random.integers(0, 256, ((width * bits + 31) // 32 * 4) * height).astype(np.uint8).tobytes()
        return bmp(width, height, bits, header, 0, palette, rows, top_down)

    def bmp_masks(self):
        width, height = self.size()
        bits, header = self.choose(16, 32), self.choose(40, 52, 56, 108, 124)
        masks = (
            self.choose((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F))
            if bits == 16
            else self.choose((0xFF0000, 0xFF00, 0xFF), (0xFF000000, 0xFF0000, 0xFF00), (0xFF, 0xFF00, 0xFF0000), (0, 0, 0))
        )
        opacity = 0
        if bits == 32 and header >= 56:
            opacity = {0xFF0000: self.choose(0, 0xFF000000), 0xFF000000: self.choose(0, 0xFF), 0xFF: 0xFF000000, 0: 0}[masks[0]]
        elif masks[0] == 0xFF:
            masks = (0xFF0000, 0xFF00, 0xFF)
        rows = self.random.integers(0, 256, ((width * bits + 31) // 32 * 4) * height).astype(np.uint8).tobytes()
        return bmp(width, height, bits, header, 3, np.zeros((0, 4), np.uint8), rows, bool(self.random.integers(0, 2)), (*masks, opacity))

    def bmp_few_colours(self):
        """A palette that lacks some of the colours that are used."""
        width, height = self.size()
        bits = self.choose(4, 8)
        palette = self.random.integers(0, 256, (5, 4)).astype(np.uint8)
        rows = self.random.integers(0, 256, ((width * bits + 31) // 32 * 4) * height).astype(np.uint8).tobytes()
        return bmp(width, height, bits, 40, 0, palette, rows, False)

    def bmp_runs(self):
        width, height = self.size()
        bits = self.choose(4, 8)
        palette = self.random.integers(0, 256, (1 << bits, 4)).astype(np.uint8)
        data = bytearray()
        byte = lambda: int(self.random.integers(0, 256))
        x = y = 0
        while y < height:
            left = width - x
            kind = int(self.random.integers(0, 8))
            if kind < 4 and left > 0:
                run = int(self.random.integers(1, left + 1))
                data += bytes([run, byte()])
                x += run
            elif kind < 6 and left >= 3:
                run = int(self.random.integers(3, left + 1))
                count = run if bits == 8 else (run + 1) // 2
                data += bytes([0, run]) + bytes(byte() for _ in range(count)) + b"\0" * (count % 2)
                x += run
            elif kind == 6 and left > 1:
                step = int(self.random.integers(0, left))
                down = 1 if y + 2 < height and self.random.integers(0, 2) else 0
                data += bytes([0, 2, step, down])
                x += step
                y += down
            elif left == 0:
                data += bytes([0, 0])
                x, y = 0, y + 1
        data += bytes([0, 1])
        return bmp(width, height, bits, 40, 1 if bits == 8 else 2, palette, bytes(data), False)

    # TIFF

    def tiff_saved(self):
        mode, compression = self.choose(
            *[(mode, c) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK") for c in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")],
            *[("1", c) for c in ("group3", "group4", "tiff_ccitt")],
            *[(mode, c) for mode in ("L", "RGB", "CMYK") for c in ("jpeg", "zstd", "lzma")],
        )
        options = {} if compression == "raw" else {"compression": compression}
        if self.random.integers(0, 3) == 0:
            options["tiffinfo"] = {274: int(self.random.integers(1, 9))}
        return self.saved(self.image(mode, *self.size()), "TIFF", **options)

    def tiff_jpeg(self):
        return self.saved(self.image("RGB", 40, 33), "TIFF", compression="jpeg", quality=self.choose(50, 90))

    def tiff_made(self):
        width, height = self.size()
        photometric, count, depths = self.choose((0, 1, (1, 2, 4, 8)), (1, 1, (1, 2, 4, 8, 16)), (2, 3, (8, 16)), (3, 1, (1, 2, 4, 8)), (5, 4, (8, 16)))
        bits = self.choose(*depths)
        extra = ()
        if photometric == 2 and self.random.integers(0, 2):
            extra = (self.choose(0, 1, 2),)
        elif photometric == 1 and bits == 8 and self.random.integers(0, 2):
            extra = (self.choose(0, 2),)
        samples = count + len(extra)
        order = self.choose("<", ">")  # of BigTIFF, Pillow reads the first only
        if photometric == 0 and bits > 8:
            bits = 8
        # Planes of 16 bits, and of a palette, are beyond Pillow where nothing is compressed.
        compression = self.choose(1, 8, 32773)
        planar = samples > 1 and (bits == 8 or compression != 1) and photometric in (2, 5) and bool(self.random.integers(0, 2)) and not (0 in extra)
        tile = (16 * self.choose(1, 2), 16) if self.random.integers(0, 2) else None
        fill = 2 if bits == 1 and photometric in (0, 1) and self.random.integers(0, 2) else 1
        predictor = compression == 8 and bits == 8 and bool(self.random.integers(0, 2))
        data = self.bytes(height, width, samples) if bits <= 8 else self.random.integers(0, 65536, (height, width, samples)).astype(np.uint16)
        if bits < 8:
            data >>= 8 - bits
        colours = self.random.integers(0, 65536, 3 << bits).tolist() if photometric == 3 else None
        orientation = int(self.random.integers(1, 9)) if self.random.integers(0, 3) == 0 else None
        return tiff(
            data, bits, photometric, order, extra=extra, compression=compression, planar=planar, tile=tile, fill=fill,
            predictor=predictor, colours=colours, orientation=orientation, rows=self.choose(1, 3, 100), big=order == "<" and bool(self.random.integers(0, 3) == 0),
        )  # fmt: skip

    def tiff_luma(self):
        """Luma and chroma for each pixel, which Pillow converts itself where nothing is compressed, and libtiff where something is."""
        width, height = self.size()
        return tiff(self.bytes(height, width, 3), 8, 6, self.choose("<", ">"), compression=self.choose(1, 8), rows=self.choose(3, 100))

    def tiff_no_extra_samples(self):
        return tiff(self.bytes(5, 7, 4), 8, 2, "<", declare=False, extra=(2,))

    def tiff_pages(self):
        pages = [self.image("RGB", *self.size()) for _ in range(3)]
        return self.saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")

    # JPEG with four inks

    def jpeg_inks(self):
        return self.saved(self.image("CMYK", *self.size()), "JPEG", quality=85, exif=self.exif(), progressive=bool(self.random.integers(0, 2)))

    def jpeg_ycck(self):
        """The same, but the marker says that three of them are luma and chroma."""
        data = self.saved(self.image("CMYK", *self.size()), "JPEG", quality=85)
        at = data.index(b"Adobe")
        return data[: at + 11] + b"\x02" + data[at + 12 :]

    def all(self):
        return [(name, getattr(self, name)) for name in dir(self) if name.split("_")[0] in ("webp", "gif", "bmp", "tiff", "jpeg")]


# Files that Pillow does not write --------------------------------------------------------------------------------------------------


def blocks(data):
    return b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)) + b"\0"


def literal_codes(pixels, size):
    """LZW without any compression: the table is cleared before codes grow."""
    codes, since = [1 << size], 0
    for pixel in pixels:
        if since == (1 << size) - 2:
            codes.append(1 << size)
            since = 0
        codes.append(pixel)
        since += 1
    codes.append((1 << size) + 1)
    value = sum(code << (i * (size + 1)) for i, code in enumerate(codes))
    return value.to_bytes((len(codes) * (size + 1) + 7) // 8, "little")


def bmp(width, height, bits, header, compression, palette, rows, top_down, masks=None):
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
        table = palette[:, :3].tobytes()
    else:
        info = struct.pack("<IiiHHIIiiII", header, width, -height if top_down else height, 1, bits, compression, len(rows), 0, 0, len(palette) if bits <= 8 else 0, 0)
        if masks and header == 40:
            info += struct.pack("<III", *masks[:3])
        elif masks:
            info += struct.pack("<IIII", *masks)
        info = info[: max(header, 52 if masks and header == 40 else 0)].ljust(header, b"\0")
        table = palette.tobytes()
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(table) + len(rows), 0, 0, 14 + len(info) + len(table)) + info + table + rows


def packbits(data):
    """Runs of three or more, and what lies between."""
    out, i = bytearray(), 0
    while i < len(data):
        run = 1
        while i + run < len(data) and run < 128 and data[i + run] == data[i]:
            run += 1
        if run >= 3:
            out += bytes([257 - run, data[i]])
        else:
            run = min(100, len(data) - i)
            out += bytes([run - 1]) + data[i : i + run]
        i += run
    return bytes(out)


def tiff(data, bits, photometric, order, extra=(), compression=1, planar=False, tile=None, fill=1, predictor=False, colours=None,
         orientation=None, rows=100, declare=True, big=False):  # fmt: skip
    """`data`: height × width × samples."""
    height, width, samples = data.shape
    if tile:
        padded = np.zeros((-(-height // tile[1]) * tile[1], -(-width // tile[0]) * tile[0], samples), data.dtype)
        padded[:height, :width] = data
        parts = [padded[y : y + tile[1], x : x + tile[0]] for y in range(0, height, tile[1]) for x in range(0, width, tile[0])]
    else:
        parts = [data[y : y + rows] for y in range(0, height, rows)]
    if planar:
        parts = [part[:, :, c : c + 1] for c in range(samples) for part in parts]
    encoded = []
    for part in parts:
        if predictor:
            part = np.concatenate([part[:, :1], np.diff(part.astype(np.int16), axis=1).astype(np.uint8)], axis=1)
        lines = []
        for line in part.reshape(part.shape[0], -1):
            if bits == 16:
                raw = line.astype(order + "u2").tobytes()
            elif bits == 8:
                raw = line.tobytes()
            else:
                raw = np.packbits(((line[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8).ravel()).tobytes()
            lines.append(packbits(raw) if compression == 32773 else raw)
        raw = b"".join(lines)
        if fill == 2:
            raw = bytes(int(f"{byte:08b}"[::-1], 2) for byte in raw) if compression == 1 else raw
        encoded.append(zlib.compress(raw) if compression == 8 else raw)
    if compression != 1:
        fill = 1
    tags = {256: ("I", [width]), 257: ("I", [height]), 258: ("H", [bits] * samples), 259: ("H", [compression]), 262: ("H", [photometric]), 277: ("H", [samples])}
    tags[266] = ("H", [fill])
    tags[284] = ("H", [2 if planar else 1])
    if tile:
        tags[322], tags[323] = ("H", [tile[0]]), ("H", [tile[1]])
    else:
        tags[278] = ("I", [rows])
    if predictor:
        tags[317] = ("H", [2])
    if colours:
        tags[320] = ("H", colours)
    if photometric == 6:
        tags[530] = ("H", [1, 1])
    if orientation:
        tags[274] = ("H", [orientation])
    if extra and declare:
        tags[338] = ("H", list(extra))
    place, where = (16 if big else 8), []
    for part in encoded:
        where.append(place)
        place += len(part) + len(part) % 2
    tags[324 if tile else 273] = ("I", where)
    tags[325 if tile else 279] = ("I", [len(part) for part in encoded])
    offset, count, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    head = (b"II" if order == "<" else b"MM") + (struct.pack(order + "HHHQ", 43, 8, 0, place) if big else struct.pack(order + "HI", 42, place))
    directory, behind = struct.pack(order + count, len(tags)), b""
    after = place + len(directory) + len(tags) * (20 if big else 12) + room
    for tag in sorted(tags):
        kind, values = tags[tag]
        value = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(value) > room:
            stored = struct.pack(order + offset, after + len(behind))
            behind += value + b"\0" * (len(value) % 2)
        else:
            stored = value.ljust(room, b"\0")
        directory += struct.pack(order + "HH" + offset, tag, {"H": 3, "I": 4}[kind], len(values)) + stored
    return head + b"".join(part + b"\0" * (len(part) % 2) for part in encoded) + directory + b"\0" * room + behind


# What is written -------------------------------------------------------------------------------------------------------------------


def checksum(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % (1 << 64)
    return value


def grouped(value):
    return "0x" + "_".join(f"{value:016x}"[i : i + 4] for i in range(0, 16, 4))


def swift():
    lines = [
        "// Pictures of every format, written by Tools/picture_fixtures.py: the checksums of the pixels that Pillow reads, and of how opaque they are.",
        "",
        "enum PillowPictures {",
        "    /// The checksum of the opacity is 0 where all is opaque.",
        "    static let all: [(name: String, width: Int, height: Int, pixels: UInt64, opacity: UInt64, base64: String)] = [",
    ]
    maker = Maker(13)
    for name, make in maker.all():
        for number in range({"tiff_made": 14, "tiff_saved": 12, "bmp_made": 8, "bmp_masks": 6, "bmp_runs": 4, "gif_made": 6, "tiff_luma": 4}.get(name, 2)):
            while True:
                data = make()
                found, _ = reference(data)
                if found:
                    break
            width, height, pixels, opacity = found
            sums = f"{grouped(checksum(pixels))}, {grouped(checksum(opacity)) if opacity else 0}"
            text = base64.b64encode(data).decode()
            lines += ["        (", f'            "{name}-{number}", {width}, {height}, {sums},', '            """']
            lines += ["            " + text[i : i + 100] + ("\\" if i + 100 < len(text) else "") for i in range(0, len(text), 100)]
            lines += ['            """', "        ),"]
    (ROOT / "Tests/ImagingTests/PillowPictures.swift").write_text("\n".join(lines + ["    ]", "}", ""]))


def folder(directory, seed, count):
    maker, refused = Maker(seed), {}
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in maker.all():
        for number in range(count):
            data = make()
            found, why = reference(data)
            path = directory / f"{name}-{number:04d}"
            path.write_bytes(data)
            if not found:
                refused.setdefault(name, []).append((number, why))
                continue
            width, height, pixels, opacity = found
            head = f"{width} {height} {'true' if opacity else 'false'}\n".encode()
            Path(str(path) + ".ref").write_bytes(head + pixels + (opacity or b""))
    for name, files in refused.items():
        print(f"Pillow refuses {len(files)} of {name}, such as number {files[0][0]}: {files[0][1]}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["swift"]:
        swift()
    elif len(sys.argv) in (3, 4, 5) and sys.argv[1] == "folder":
        folder(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1, int(sys.argv[4]) if len(sys.argv) > 4 else 20)
    else:
        sys.exit(__doc__)
