"""What Documentation/Lab.md says in words, each sentence with what must hold for it in Documentation/lab.json."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from statistics import mean, median

from record import Lab, Likeness, Map

LITE, SQUEEZE = "efficientnet-lite0", "squeezenet1.1"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence that stands in the document, letter by letter, and its test."""

    sentence: str
    holds: Callable[[Lab], bool]


def _pairs(lab: Lab, first: str = "gradcam", second: str = "fem") -> Iterator[tuple[Map, Map]]:
    """Two methods' maps of the same picture by the same network."""
    for a in lab.of(first):
        yield a, next(b for b in lab.of(second) if (b.network, b.picture) == (a.network, a.picture))


def _on(network: str, rows: list[Likeness]) -> dict[str, Likeness]:
    return {row.picture: row for row in rows if row.network == network}


def _agree_more_on_lite(lab: Lab) -> bool:
    lite, squeeze = (_on(network, lab.between("gradcam", "fem")) for network in (LITE, SQUEEZE))
    return all(lite[p].pcc > squeeze[p].pcc and lite[p].sim > squeeze[p].sim for p in lite)


def _closer_to_gradcam(lab: Lab) -> bool:
    def means(method: str) -> list[float]:
        rows = lab.between("gradcam", method)
        return [mean(row.pcc for row in rows), mean(row.sim for row in rows), mean(row.overlap for row in rows)]

    return all(rise > lime for rise, lime in zip(means("rise"), means("lime")))


def _first(lab: Lab, measure: Callable[[Map], float]) -> str:
    """The method whose maps have the smallest mean measure."""
    return min((method.name for method in lab.methods), key=lambda name: mean(measure(m) for m in lab.of(name)))


def _beside(lab: Lab, m: Map) -> float:
    """The heat map's mean beside the animal."""
    return m.mean * (1 - m.within) / (1 - lab.areas[m.picture])


def _fit(m: Map) -> float:
    """How well LIME's linear model fits, as its note says."""
    return float(re.search(r"R² of the fit ([\d.]+)", m.note)[1])


def _fits(lab: Lab) -> list[float]:
    return [_fit(m) for m in lab.of("lime")]


def _seconds(lab: Lab, method: str) -> float:
    return median(m.seconds for m in lab.of(method))


def _correlations(lab: Lab, method: str, *settings: str) -> list[float]:
    return [row.pcc for setting in settings for row in lab.changes_by(method, setting)]


CLAIMS = [
    Claim(
        "Both networks name the animal in all three pictures.",
        lambda lab: [saying.right for saying in lab.sayings if saying.picture in lab.areas] == [True] * 6,
    ),
    Claim(
        "SqueezeNet says African elephant, and EfficientNet-Lite0 a tusker",
        lambda lab: {(s.network, s.best) for s in lab.sayings if s.picture not in lab.areas}
        == {(SQUEEZE, "African elephant"), (LITE, "tusker")},
    ),
    Claim(
        "They agree in all six cases: every correlation is above 0.75, and more than half of the hottest tenth is shared.",
        lambda lab: all(row.pcc > 0.75 and row.overlap > 0.5 for row in lab.between("gradcam", "fem")),
    ),
    Claim("By PCC and SIM they agree more on EfficientNet-Lite0 than on SqueezeNet, for every picture.", _agree_more_on_lite),
    Claim(
        "Each map has its hottest pixel on the animal, and at least 1.8 times as much of its sum there as the animal takes of the picture.",
        lambda lab: all(m.points and m.within > 1.8 * lab.areas[m.picture] for pair in _pairs(lab) for m in pair),
    ),
    Claim("FEM's maps are the smaller ones: their mean is below Grad-CAM's in all six cases.",
          lambda lab: all(fem.mean < gradcam.mean for gradcam, fem in _pairs(lab))),
    Claim(
        "On SqueezeNet FEM has more of its map on the animal than Grad-CAM in every picture; on EfficientNet-Lite0 the two differ by "
        "less than two points.",
        lambda lab: all(
            fem.within > gradcam.within if gradcam.network == SQUEEZE else abs(fem.within - gradcam.within) < 0.02
            for gradcam, fem in _pairs(lab)),
    ),
    Claim(
        "Grad-CAM of the bear leaves the elephant alone: less than a tenth of the map is there.",
        lambda lab: all(lab.division(network, "Grad-CAM, American black bear").elephant < 0.1 for network in (LITE, SQUEEZE)),
    ),
    Claim(
        "FEM cannot be asked for either, and lights up both: each animal has more of its map than of the picture.",
        lambda lab: all(
            lab.division(n, "FEM").elephant > lab.division(n, "the picture's area").elephant
            and lab.division(n, "FEM").bear > lab.division(n, "the picture's area").bear for n in (LITE, SQUEEZE)),
    ),
    Claim(
        "Grad-CAM of the elephant is less clean: on SqueezeNet more of it lies on the bear than on the elephant.",
        lambda lab: lab.division(SQUEEZE, "Grad-CAM, African elephant").bear > lab.division(SQUEEZE, "Grad-CAM, African elephant").elephant
        and all(lab.division(n, "Grad-CAM, African elephant").bear > lab.division(n, "Grad-CAM, American black bear").elephant
                for n in (LITE, SQUEEZE)),
    ),
    Claim("All four methods have their hottest pixel on the animal in every case.", lambda lab: all(m.points for m in lab.maps)),
    Claim(
        "RISE has on average the smallest share of its map on the animal, because a haze lies over the ground.",
        lambda lab: _first(lab, lambda m: m.within) == "rise" and _first(lab, lambda m: -_beside(lab, m)) == "rise",
    ),
    Claim("By all three measures RISE is nearer to Grad-CAM than LIME is.", _closer_to_gradcam),
    Claim("Its R² is between 0.3 and 0.86.", lambda lab: 0.3 < min(_fits(lab)) and max(_fits(lab)) < 0.86),
    Claim(
        "The lowest is that of the bear by EfficientNet-Lite0",
        lambda lab: (lowest := min(lab.of("lime"), key=_fit)).network == LITE and lowest.picture == "bear",
    ),
    Claim(
        "LIME and RISE take more than fifty times the processor's seconds that Grad-CAM takes.",
        lambda lab: min(_seconds(lab, "lime"), _seconds(lab, "rise")) > 50 * _seconds(lab, "gradcam"),
    ),
    Claim("All maps together take less than fifteen minutes on two free cores.", lambda lab: lab.seconds / 2 < 15 * 60),
    Claim(
        "One stage earlier Grad-CAM's map correlates with the usual one below 0, and FEM's below 0.5.",
        lambda lab: max(_correlations(lab, "gradcam", "layer")) < 0 and max(_correlations(lab, "fem", "layer")) < 0.5,
    ),
    Claim("FEM with half or double k correlates with the usual map by 0.9 or more.",
          lambda lab: min(_correlations(lab, "fem", "k")) >= 0.9),
    Claim(
        "The number of samples, the width, alpha, the distance and the seed hardly matter to LIME: every correlation is above 0.99.",
        lambda lab: min(_correlations(lab, "lime", "samples", "width", "alpha", "distance", "seed")) > 0.99,
    ),
    Claim(
        "What cuts the picture up decides: with SLIC in place of quickshift the correlation is below 0.1, and with half or double the "
        "kernel of quickshift below 0.6.",
        lambda lab: max(_correlations(lab, "lime", "segmentation")) < 0.1 and max(_correlations(lab, "lime", "kernel")) < 0.6,
    ),
    Claim(
        "The ratio, which sets colours against places, lies in between.",
        lambda lab: 0.6 < min(_correlations(lab, "lime", "ratio")) and max(_correlations(lab, "lime", "ratio")) < 0.99,
    ),
    Claim(
        "Each change of the grid or of p changes RISE's map more than another seed does, and each change of the number of masks less.",
        lambda lab: max(_correlations(lab, "rise", "grid", "p")) < min(_correlations(lab, "rise", "seed"))
        < min(_correlations(lab, "rise", "samples")),
    ),
]
