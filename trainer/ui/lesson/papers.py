"""Citations as links: the papers that the lesson's texts name, and where each can be read."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from trainer import methods
from trainer.markup import render

PAPERS = {
    "Kaplan et al. 2020": "https://arxiv.org/abs/2001.08361",
    "Vaswani et al. 2017": "https://arxiv.org/abs/1706.03762",
    "Goodfellow et al. 2016": "https://www.deeplearningbook.org/contents/ml.html",
    "Prechelt 1998": "https://doi.org/10.1007/3-540-49430-8_3",
    "McNemar 1947": "https://doi.org/10.1007/BF02295996",
    "Dietterich 1998": "https://doi.org/10.1162/089976698300017197",
    "Tango 1998": "https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C891::AID-SIM780%3E3.0.CO;2-B",
    "Holm 1979": "https://www.jstor.org/stable/4615733",
    "Reimers and Gurevych 2017": "https://arxiv.org/abs/1707.09861",
}
"""Citations as they stand in the texts, in every language -> the paper's address."""


def linked(text: str) -> Markup:
    """A text as HTML in which each citation is a link to its paper; an address that follows it is left out.

    Citations are those of `PAPERS` and of the methods.
    """
    papers = PAPERS | of_methods()
    longest_first = sorted(papers, key=len, reverse=True)
    cited = re.compile(rf"({'|'.join(map(re.escape, longest_first))})(?:, https://[^\s);]*[^\s);.])?")
    parts, last = [], 0
    for citation in cited.finditer(text):
        parts += [escape(text[last : citation.start()]), _link(citation[1], papers[citation[1]])]
        last = citation.end()
    return Markup("").join([*parts, escape(text[last:])])


def of_methods() -> dict[str, str]:
    """Citation -> address, of the methods' papers that have one."""
    papers = {}
    for method in methods.METHODS.values():
        for paper in method.paper.split("; "):
            title, _, address = paper.rpartition(", ")
            if address.startswith("https://"):
                papers[title] = address
    return papers


def _link(title: str, address: str) -> Markup:
    return Markup(render("lesson/paper.html", title=title, address=address).strip())
