"""Read the time stamps of CIC-IDS2017's label files: which moments a stamp may mean, and how exact it is.

Programs that open such a file and save it change its stamps. A spreadsheet adds seconds that were not there, takes an
hour of the afternoon for one before noon, or the day for the month. CIC-IDS2017 was captured from 3 to 7 July 2017
between 7 a.m. and 7 p.m. local time. A stamp that cannot be of that time is put right here.
"""

from __future__ import annotations

import calendar
import re
from datetime import datetime

import numpy as np

EXPECTED = "D/M/YYYY H:MM, DD/MM/YYYY HH:MM:SS (both also with AM or PM) or YYYY-MM-DD HH:MM:SS should be there"
_FORMS = (
    r"(?P<day>\d{1,2})(?P<mark>[/.-])(?P<month>\d{1,2})(?P=mark)(?P<year>\d{4}|\d{2}) "
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(:(?P<second>\d{2}))?( (?P<half>[AaPp][Mm]))?",
    r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})[ T](?P<hour>\d{2}):(?P<minute>\d{2})(:(?P<second>\d{2})(\.\d+)?)?"
    r"(?P<zone>Z|\+00:?00)?",
)
_FORMS = tuple(map(re.compile, _FORMS))
# What a file's clock may be, as hours that are added to get UTC. The publisher's clock is ADT. CICFlowMeter writes the
# time of the machine that it runs on: UTC + 2 h for Engelen et al., UTC for Liu et al. A row counts at each of these
# hours: that a flow of the same two ends began in the same second, hours apart, is not to be expected. A stamp before
# 7 a.m. may be the publisher's of the afternoon (ADT and 12 h), whose file was saved with AM or in ISO form.
_CLOCKS = {"without AM and PM": (3,), "AM and PM": (3, -2), "ISO": (0, 3), "UTC": (0,)}
_CLOCKS |= {"AM and PM, early": (3, -2, 15), "ISO, early": (0, 3, 15)}
_EARLY = 7  # the hour before which nothing was captured


def read(text: str) -> int:
    """Return the local time since 1970 [s] times 1000, plus the clock times 100, plus the stamp's resolution [s].

    The clock is an index into _CLOCKS. The resolution is 60, or 1 if the stamp has seconds. In stamps of twelve hours
    without AM or PM, an hour before 7 is in the afternoon.

    Raises
    ------
    ValueError
        If the text is no stamp.
    """
    match = next(filter(None, (form.fullmatch(text) for form in _FORMS)), None)
    if match is None:
        raise ValueError
    parts = match.groupdict()
    year, month, day, minute, second = (int(parts[name] or 0) for name in ("year", "month", "day", "minute", "second"))
    year += 2000 * (year < 100)
    if year == 2017 and 3 <= month < day == 7:  # 3 to 6 July, whose day was taken for the month
        month, day = day, month
    hour, clock = _hour_and_clock(parts)
    local_s = calendar.timegm(datetime(year, month, day, hour, minute, second).timetuple())
    if not 86_400 <= local_s < 2**32 - 86_400:
        raise ValueError  # outside 1970 to 2106, which no capture's stamps leave
    return local_s * 1000 + list(_CLOCKS).index(clock) * 100 + (60 if parts["second"] is None else 1)


def _hour_and_clock(parts: dict[str, str | None]) -> tuple[int, str]:
    """Return the hour of the day and a key of _CLOCKS."""
    hour, half = int(parts["hour"]), (parts.get("half") or "").lower()
    if half:
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if half == "pm" else 0)
        return hour, "AM and PM" + ", early" * (hour < _EARLY)
    if parts.get("zone"):
        return hour, "UTC"
    if "zone" in parts:
        return hour, "ISO" + ", early" * (hour < _EARLY)
    return hour + 12 * (hour < _EARLY), "without AM and PM"


def expanded(rows: np.ndarray, stamps: np.ndarray) -> tuple[np.ndarray, int]:
    """Return rows with their starts: a row of each for every moment that its stamp may mean.

    If all stamps of a day end in the second 0, a program added the seconds, and such a stamp stands for its minute.

    Parameters
    ----------
    rows : ndarray of shape (n,), dtype `flow_index.ROW`
        The rows of one file.
    stamps : ndarray of shape (n,), int64
        What `read` returned for each.

    Returns
    -------
    rows : ndarray of shape (m,), dtype `flow_index.ROW`
    added : int
        Rows of the file whose stamps have seconds that a program added.
    """
    local_s, rest = np.divmod(stamps, 1000)
    clock, window_s = np.divmod(rest, 100)
    _, day = np.unique(local_s // 86_400, return_inverse=True)
    added = (window_s == 1) & (np.bincount(day, local_s % 60)[day] == 0)
    rows = rows.copy()
    rows["window_s"] = np.where(added, 60, window_s)
    parts = []
    for number, hours in enumerate(_CLOCKS.values()):
        for hour in hours:
            part = rows[clock == number]
            part["start_s"] = local_s[clock == number] + 3600 * hour
            parts.append(part)
    return np.concatenate(parts), int(added.sum())
