"""An audit as a page, with pictures."""

from __future__ import annotations

from retrieval.auditing import Audit, AuditedItem, DuplicatePair, Suspect
from retrieval.mending import mend_duplicate, mend_suspect
from retrieval.pages.page import Html, figure, join, name, page, table, tag
from retrieval.pages.thumbnails import picture
from retrieval.place import Place


def audit_page(audit: Audit, gallery: Place) -> Html:
    """Make the page of an audit; photos are read from where they were added.

    Args:
        audit: What was found.
        gallery: Where the gallery is, for its name and the commands that mend it.
    """
    return page(
        f"Audit of {gallery.title}",
        tag(
            "p", "Found by the stored vectors alone: look at the photos before you change a label."
        ),
        table(
            "What was compared and found",
            ("what", "count"),
            [
                ("items", audit.items),
                ("labels", audit.labels),
                ("items judged by their mates", audit.judged),
                ("items alone with their label, not judged", audit.alone),
                ("items without a label", audit.unlabelled),
                ("likely mislabelled", audit.n_suspects),
                ("near-duplicates across labels", audit.n_duplicates),
            ],
        ),
        tag(
            "section",
            tag("h2", "Likely mislabelled", id="mislabelled"),
            _shown(len(audit.suspects), audit.n_suspects, "item"),
            tag(
                "p",
                "Worst first. Another label is nearer than the item's own, and its nearest "
                f"neighbours carry it (score above {audit.suspicious_above:g}).",
                class_="quiet",
            ),
            *(_suspect(one, gallery) for one in audit.suspects),
            aria_labelledby="mislabelled",
        ),
        tag(
            "section",
            tag("h2", "Near-duplicates across labels", id="duplicates"),
            _shown(len(audit.duplicates), audit.n_duplicates, "pair"),
            tag(
                "p",
                "The same picture, or nearly, under two labels: same bytes first, then pairs at a "
                f"distance below {audit.duplicates_below:g}, nearest first.",
                class_="quiet",
            ),
            *(_duplicate(one, gallery) for one in audit.duplicates),
            aria_labelledby="duplicates",
        ),
    )


def _shown(shown: int, count: int, noun: str) -> Html:
    nouns = noun if count == 1 else f"{noun}s"
    if not count:
        return tag("p", "None found.")
    if shown == count:
        return tag("p", f"{count:,} {nouns}.")
    return tag("p", f"{count:,} {nouns}, of which these are the worst {shown:,}.")


def _suspect(suspect: Suspect, gallery: Place) -> Html:
    item, suggested = suspect.item, suspect.suggested_label
    return tag(
        "article",
        tag("h3", f"Item {item.id}: says ", _label(item), ", looks like ", name(suggested)),
        tag(
            "div",
            _figure(item, tag("b", "this item")),
            _figure(suspect.other, "nearest of the label suggested", suspect.other_distance),
            _figure(suspect.mate, "nearest of its own label", suspect.mate_distance),
            class_="figures",
        ),
        tag(
            "p",
            f"{suspect.votes} of its {suspect.voters} nearest items say ",
            name(suggested),
            f"; score {suspect.score:.3f}. If they are right: ",
            tag("code", mend_suspect(suspect, gallery)),
            class_="mend",
        ),
    )


def _duplicate(pair: DuplicatePair, gallery: Place) -> Html:
    first, second = pair.first, pair.second
    how = "the very same file" if pair.same_bytes else f"distance {pair.distance:.4f}"
    return tag(
        "article",
        tag("h3", f"Items {first.id} and {second.id}: ", _label(first), " and ", _label(second)),
        tag("div", _figure(first), _figure(second), class_="figures"),
        tag(
            "p",
            f"{how.capitalize()}. If the first is right: ",
            tag("code", mend_duplicate(pair, gallery)),
            class_="mend",
        ),
    )


def _figure(item: AuditedItem, role: str | None = None, distance: float | None = None) -> Html:
    alt = f"Photo of item {item.id}, {item.label or 'without a label'}"
    lines = [
        *([] if role is None else [role]),
        _label(item),
        f"item {item.id}" + ("" if distance is None else f", distance {distance:.4f}"),
        name(item.path, class_="path"),
    ]
    return figure(picture(item.path, item.content_hash, alt), *lines)


def _label(item: AuditedItem) -> Html:
    return join("no label") if item.label is None else name(item.label)
