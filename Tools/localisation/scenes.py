"""Pictures of which it is known to the pixel where the object is: free cut-outs of animals on varied grounds, composed from a seed.

The cut-outs are Debian's stamps for Tux Paint (GPL-2; nothing of them is kept in the repository), the grounds are CC0 textures from scikit-image
and coloured noise.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
from fetch import DebianPackage, workspace, write_atomically
from photos import SCIKIT_IMAGE
from PIL import Image

SIDE = 224
_STAMPS = DebianPackage("tuxpaint-stamps-default", megabytes=161)
_FOLDER = "usr/share/tuxpaint/stamps/animals"
# The cut-out, its class of ImageNet, and the file's SHA-256. Animals without a class of their own are not here.
_ANIMALS = (
    ("amphibians/frog-1", 32, "7fbb4b433aed67f636ef22560a1462d55dfae2567c248bd14e865b54dcce7a6e"),
    ("amphibians/frog", 32, "3136e0e0fc9bf3148e066ed925c847a2048436d4cc77e56e7205a874210e95df"),
    ("birds/crowned_crane", 134, "8512e8481a727ced9236f9b1ab994252ed6ac78df6cc6b84d54c6e2565f4fe9e"),
    ("birds/drake", 97, "4a8cfa05f6928b500d68354a5f8dceb8804b776fc5bdb098dd2fb4948dd7ce93"),
    ("birds/duck", 97, "7770d71308241fe7f0a4f99fc2aabe8ac16e4cfff6e37d13e61fab459c8aed33"),
    ("birds/gander", 99, "8401b1e2443527c4b187fd901e4b3ee62795f3e1fb8640cd571d8cec02b188cf"),
    ("birds/hen", 8, "c0bf14dd4ee7dfdab6408991e1fa02c3097472f6ddcd46849111db623827881c"),
    ("birds/magpie", 18, "0940db581fff1eff00aa3a83d8520a7794a3233b4f5d81e71b42e9ce04b2c8ff"),
    ("birds/ostrich", 9, "3c3ae1f1b5a29c91f28d810734a24c2f342a25c20615a46f78b281c723df757f"),
    ("birds/peacock", 84, "657b94b6d6cd98c88f274ebf8e8f3180aae7795e74e9272543e362367f6a68df"),
    ("birds/pelican", 144, "13f209688b1abd8e91358da28adc62f693604c80760c2763a6baec874e5eb2ac"),
    ("birds/penguin", 145, "5d0106c55f54cd7f7ceb5b997725b49ac9f3c3fd6934cf009a73cc6fa172f00b"),
    ("birds/pink_flamingo", 130, "76f05c493f655efeaa386521bea913cd41bc9a65318a4ff973a3c4ef1b656643"),
    ("birds/rainbow-lorikeet", 90, "a0134b0a9bb2aa00988b596968e0dddd11559bc57b2a0474b5c883b846ccc74f"),
    ("birds/rooster", 7, "f8e0caa20436484d76512417cb6c1b1a8d3f631da26350de4f3666526790fbe6"),
    ("birds/tucan", 96, "4db72d83ee7b01ce8d72ffd582c96be468261d9b2eed1173eca0647ed1d196b9"),
    ("birds/vulture", 23, "5a829eccfac975dc071327b399732ed1fdf2b4adec035098047670ccf533f27b"),
    ("fish/lionfish", 396, "7630d60c1edfebb245d3025b2e8063ec11c2a21b4fc2950ea9acaf560335ad64"),
    ("insects/Brown_slug", 114, "e06936e61c58a4588b7d83fdbf31e493f0561c337e052b9f3165ae3d5d2ec85e"),
    ("insects/Woodlouse", 126, "fcb1e419dd9afc40650c60e0eb9922282cee439a37b0f4b29bd5f352d280b88f"),
    ("insects/fly", 308, "a4e05ba0ce724d7550c349d0002c2588d0616b2c8a2af92d4caf3d6815a7dac0"),
    ("insects/grasshopper", 311, "1ecd462ad14f32a5de859613d6a9d9c706261eb6fd1fe80af0ce2a77ec1a8558"),
    ("insects/mantis", 315, "bf00815bed1b777432d7fa6ce1171b226caa794299dbb1e2994f29544d7ceaae"),
    ("mammals/apes/gorilla", 366, "a9b45cb2f0acae32161d3ab45505219c6083a18e9412e5439cdd104fcbb53a85"),
    ("mammals/aquatic/orca", 148, "5b1d5b9f2d2250cb6b5405dbfc843538f3f89f56ff535f8d37f6a9937d4fd4f1"),
    ("mammals/aquatic/otter", 360, "875ec74ddc9cf664ad988ddfa1972739260b2c59bf4963d06b3b337f31594307"),
    ("mammals/aquatic/sea_lion", 150, "0467907bf6b79bc0768fd2ff8a1289b56d1bc2cb83dce30e45d1adf72243fb51"),
    ("mammals/badger", 362, "de31acc03128709bd23fc76075c4c945478b259b2b63e15e2b890101d644be2a"),
    ("mammals/bears/bear", 295, "aba4c267dac9003ba033fb0e6e7f09ed43b10e38ec625e5c2d6b67196e182c7f"),
    ("mammals/bears/european-bear", 294, "bab9ff97e54a0a1961c7411f701f8f156b1d353a5e86cf85c6bc675aea8a32ff"),
    ("mammals/bovines/bison", 347, "4316b377b8131e896b62c9e5ff7e0edd49e9d7b4d3acaff7243119f9f66fe65f"),
    ("mammals/bovines/ram", 348, "619f393899b04dc4d29d2d48af83d145caae89a95b357508ff67a065da67179a"),
    ("mammals/camel/camel", 354, "910c74c113d617741e549c84ddfc73b69df69b8e7f647bc98815e33f0db7a5df"),
    ("mammals/camel/dromedary", 354, "f7455abfa012318bf61702e01815d61bb0a3eb4bfea25b91a8f78437ee157c24"),
    ("mammals/cats/lion", 291, "79ef5635d7a2a5c865017ce92a7cc0704468e2c5220b8fa588e1be5385fb120e"),
    ("mammals/cats/tiger", 292, "699baad06e31c6274fc7bb576953dc0f66a6677a8286daefbdf454cf7b7395d6"),
    ("mammals/cats/tiger_sumatran", 292, "0b80b05c2920d0dbe788c377149a9d0ba19b63ef5ea809e1234ab837f5c48af6"),
    ("mammals/dogs/dingo", 273, "665de674b6adc0b89437cfa4e6635fcce180e4725367592383848d1f3e345484"),
    ("mammals/dogs/fox", 277, "d754bb3b88fc6e27c454e8880c62ba8fb84b3db7d37948209ca8b445be7d6cea"),
    ("mammals/echidna", 102, "d0eb11c11cd91683e4a770eed63a920d9f4bc0bc83eb1c43b259bf88cfae643e"),
    ("mammals/elephant", 386, "c58332e1f4ef1f476ffb0e8a2df86f0b55c589496b3699de26cfeabd231a8a70"),
    ("mammals/equines/zebra", 340, "f4a1329606b3d77b7064c8c42d3e247f522f1a48f852ef787a963ecf819f0a8c"),
    ("mammals/ferret", 359, "3afe4960c302ad43a71b9cd41be3552bb45615c57edd3bae2ab6babd54d432dc"),
    ("mammals/hippopotamus", 344, "3ed404f03c93de77bf1728faa208cc54681beef84f51ebda7689b916d51b3b94"),
    ("mammals/pig", 341, "41b6caefca7cb65f3c5ab5afdf77dc31b880031ecf1a422035cf7160ffb8b3da"),
    ("mammals/pig_golden", 341, "10648b2307bf0a71b9ecc602191d6b789a4e02968044b22a8490c313d6fec091"),
    ("mammals/rodents/beaver", 337, "556401ea1b5f20f70ea26176b32ed494a1cc700287feba447ce3d737e9e5bdab"),
    ("mammals/rodents/marmot", 336, "95ff9db558973e015ac81b37a66e1caf8e69687a6ff76c331c733b041f51246c"),
    ("mammals/rodents/squirrel", 335, "ac942f3b777493bb97cfd7e08cd5809bd31863ae73bd1fb681fa0e8e01f13fe7"),
    ("mammals/wildboar", 342, "74f3338d0acf2aa127a77bd475a14fa109d8be5b77586db0e9dc142621e387a2"),
    ("marsupials/koala", 105, "1ca01ed025cfcaf47e8529b72b8390f8e9e7d5d23b2b3c1b3fdec8873c7ec0be"),
    ("marsupials/wombat", 106, "b1aa4f2c3d82f428ee33e34ff3150bf5187b915f9bc50eaa2ed12a1614e376b0"),
)
_TEXTURES = {
    "skimage/data/gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "skimage/data/grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "skimage/data/brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
}


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture, bytes [SIDE, SIDE, 3], and the mask of each class that it shows."""

    name: str
    pixels: np.ndarray
    masks: dict[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Material:
    """What scenes are made of: cut-outs with their classes, and grey textures."""

    animals: list[tuple[int, Image.Image]]
    textures: list[np.ndarray]


def material(folder: Path) -> Material:
    """The files, downloaded into `folder` if they are not there yet."""
    files = {f"{_FOLDER}/{name}.png": sha256 for name, _, sha256 in _ANIMALS}
    paths = {member: folder / member.rpartition("/")[2] for member in (*files, *_TEXTURES)}
    if not all(path.exists() for path in paths.values()):
        with workspace(folder) as work:
            found = _STAMPS.read(files, work) | SCIKIT_IMAGE.read(_TEXTURES, work)
        for member, content in found.items():
            write_atomically(paths[member], content)
    return Material(
        [(index, Image.open(paths[f"{_FOLDER}/{name}.png"]).convert("RGBA")) for name, index, _ in _ANIMALS],
        [np.asarray(Image.open(paths[member]).convert("L")) for member in _TEXTURES])


def _noise(random: np.random.Generator, side: int) -> np.ndarray:
    """Grey noise whose waves are the stronger the longer they are, 0 ... 255."""
    waves = np.fft.fft2(random.normal(size=(side, side)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1
    plane = np.fft.ifft2(waves / frequency ** random.uniform(0.8, 1.6)).real
    return (255 * (plane - plane.min()) / (plane.max() - plane.min())).astype(np.uint8)


def _ground(random: np.random.Generator, textures: list[np.ndarray]) -> np.ndarray:
    """A texture or noise in a tint, and above a horizon perhaps a sky."""
    kind = random.integers(len(textures) + 1)
    if kind < len(textures):
        texture = textures[kind]
        top, left = (int(random.integers(extent - SIDE + 1)) for extent in texture.shape)
        grey = texture[top:top + SIDE, left:left + SIDE]
    else:
        grey = _noise(random, SIDE)
    pale = random.uniform(0, 0.6)
    picture = (grey[..., None] * (1 - pale) + 255 * pale) * random.uniform(0.6, 1, 3)
    if random.random() < 0.4:
        horizon = int(SIDE * random.uniform(0.3, 0.65))
        picture[:horizon] = np.array((150, 190, 230)) * random.uniform(0.8, 1.1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _placed(random: np.random.Generator, animal: Image.Image, room: tuple[int, int]) -> Image.Image:
    """A cut-out, perhaps mirrored, that covers a part of its room."""
    share = random.uniform(0.55, 0.95)
    scale = share * min(room[0] / animal.width, room[1] / animal.height)
    size = (max(1, round(animal.width * scale)), max(1, round(animal.height * scale)))
    found = animal.resize(size, Image.Resampling.LANCZOS)
    return found.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else found


def scene(number: int, material: Material, seed: int) -> Scene:
    """Scene `number` of a seed: one animal, or of every third two of different classes side by side."""
    random = np.random.default_rng([seed, number])
    picture = Image.fromarray(_ground(random, material.textures))
    count = 2 if number % 3 == 2 else 1
    chosen: list[tuple[int, Image.Image]] = []
    while len(chosen) < count:
        index, animal = material.animals[int(random.integers(len(material.animals)))]
        if index not in (other for other, _ in chosen):
            chosen.append((index, animal))
    masks = {}
    for place, (index, animal) in enumerate(chosen):
        width = SIDE // count
        cutout = _placed(random, animal, (width, SIDE))
        left = place * width + int(random.integers(width - cutout.width + 1))
        top = int(random.integers(SIDE - cutout.height + 1))
        picture.paste(cutout, (left, top), cutout)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[top:top + cutout.height, left:left + cutout.width] = np.asarray(cutout)[..., 3] >= 128
        masks[index] = mask
    return Scene(f"{number:05}", np.asarray(picture), masks)


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()
