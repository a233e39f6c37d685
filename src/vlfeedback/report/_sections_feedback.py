"""Sections on ratings and pairs."""

from __future__ import annotations

from vlfeedback.report._figures_pairs import lengths, pairs_kept
from vlfeedback.report._figures_ratings import ordered_models, rating_by_position, rating_histograms, rating_per_model
from vlfeedback.report._numbers import DASH, bracket, count, percent, plain
from vlfeedback.report._pairs import WORDS, Pairs
from vlfeedback.report._ratings import Mean, Ratings
from vlfeedback.report._read import Artefacts
from vlfeedback.report._section import Section, Table, waiting


def histogram_section(run: Artefacts, found: Ratings | None) -> Section:
    """Rating histograms per aspect and for the red-team subset."""
    key, title = "ratings-per-aspect", "Ratings per aspect"
    if found is None:
        return waiting(run, key, title, "annotations")
    columns = ("Aspect", "Subset", *(f"#{score}" for score in found.scale), "#n", "#No verdict", "#Mean")
    rows = tuple(
        (
            spread.aspect,
            spread.subset,
            *(percent(spread.share(score)) for score in found.scale),
            count(spread.n),
            count(spread.missing),
            plain(spread.mean),
        )
        for spread in found.spreads
    )
    statuses = ", ".join(f"{count(number)} {status}" for status, number in found.statuses.items())
    lead = f"Judge: {', '.join(found.judges)}. Rubric: {', '.join(found.rubrics)}. Annotations: {statuses}."
    subsets = {spread.subset for spread in found.spreads}
    note = (
        "Red-team: instructions whose right conduct is to refuse or to take care."
        if "red-team" in subsets
        else "No instruction is marked as one to refuse or to take care with, so there is no red-team subset."
    )
    return Section(key, title, lead, rating_histograms(found), (Table(columns, rows),), notes=(note,))


def models_section(run: Artefacts, found: Ratings | None) -> Section:
    """Mean rating per model and aspect."""
    key, title = "mean-rating-per-model-and-aspect", "Mean rating per model and aspect"
    if found is None or not found.models:
        return waiting(run, key, title, "annotations" if found is None else "responses")
    rows = tuple(
        (model, *(cell for aspect in found.aspects for cell in mean_cells(found.models.get((model, aspect)))))
        for model in ordered_models(found)
    )
    columns = ("Model", *(name for aspect in found.aspects for name in (f"#{aspect}", "#95 % interval", "#n")))
    lead = "Which models the judge likes. Models are in the order of their mean over aspects."
    return Section(key, title, lead, rating_per_model(found), (Table(columns, rows),))


def mean_cells(mean: Mean | None) -> tuple[str, str, str]:
    """Value, interval and n of a mean."""
    if mean is None:
        return (DASH, DASH, "0")
    return (plain(mean.value), bracket(mean.low, mean.high), count(mean.n))


def position_section(run: Artefacts, found: Ratings | None) -> Section:
    """Rating by position."""
    key, title = "rating-by-position", "Rating by position"
    if found is None:
        return waiting(run, key, title, "annotations")
    if not found.positions:
        return Section(key, title, missing="The order in which the judge saw the responses is not known (an import).")
    places = sorted({place for place, _ in found.positions})
    rows = tuple(
        (aspect, str(place), *mean_cells(found.positions.get((place, aspect))))
        for aspect in found.aspects
        for place in places
    )
    lead = "A fair judge gives the same mean rating to every place, as long as models are spread over places at random."
    columns = ("Aspect", "#Place", "#Mean rating", "#95 % interval", "#n")
    return Section(key, title, lead, rating_by_position(found), (Table(columns, rows, folded=True, caption="Numbers"),))


def pairs_section(run: Artefacts, found: Pairs | None) -> Section:
    """Pairs kept, tied, incomplete, identical, filtered."""
    key, title = "pairs-kept-tied-and-incomplete", "Pairs kept, tied and incomplete"
    if found is None:
        return waiting(run, key, title, "pairs")
    possible = found.possible
    rows = tuple(
        (WORDS.get(reason, reason), count(number), percent(number / possible if possible else None))
        for reason, number in found.outcomes.items()
    )
    per = DASH if not found.instructions else plain(found.outcomes["kept"] / found.instructions)
    strategies = ", ".join(f"{name} ({count(number)})" for name, number in found.strategies.items()) or "none"
    lead = (
        f"{count(found.outcomes['kept'])} of {count(possible)} possible pairs are kept, from "
        f"{count(found.instructions)} instructions ({per} pairs each). Strategy: {strategies}."
    )
    total = (("all", count(possible), percent(1.0 if possible else None)),)
    return Section(key, title, lead, pairs_kept(found), (Table(("Outcome", "#Pairs", "#Share"), rows + total),))


def length_section(run: Artefacts, found: Pairs | None) -> Section:
    """Length of chosen against rejected, and win rate of the longer."""
    key, title = "length-of-chosen-against-rejected", "Length of chosen against rejected"
    if found is None or found.lengths is None:
        return waiting(run, key, title, "pairs")
    sizes = found.lengths
    gap = sizes.chosen.value - sizes.rejected.value
    lead = f"Chosen responses are {plain(abs(gap), 1)} words {'longer' if gap >= 0 else 'shorter'} than rejected ones. "
    wins = sizes.longer_wins
    if wins is None:
        lead += "No two paired responses differ in length."
    else:
        low, high = (None if end is None else 100 * end for end in (wins.low, wins.high))
        lead += f"The longer response wins {percent(wins.value)} {bracket(low, high, 1)} of {count(wins.n)} pairs."
    rows = tuple(
        (
            what,
            *(cell for mean in means for cell in (plain(mean.value, 1), bracket(mean.low, mean.high, 1))),
            count(means[0].n),
        )
        for what, means in (("words", (sizes.chosen, sizes.rejected)), ("characters", sizes.characters))
    )
    columns = ("Unit", "#Chosen, mean", "#95 % interval", "#Rejected, mean", "#95 % interval", "#n")
    notes = (f"The longer response is the one with more characters; {count(sizes.equal)} pairs are of equal length.",)
    return Section(key, title, lead, lengths(sizes), (Table(columns, rows),), notes=notes)
