#include "export/rollup.h"

#include <stdlib.h>

#include "base/check.h"

enum { BATCH = 64, VALUES = 9, MINUTE = 60, HOUR = 3600 };

/* One insert does for a key that is new and for one that is known: the view's trigger sees to it, also
 * when the file was replaced by an empty one. A minute that a restart fell into is put together of its
 * parts; its p95 is the larger one. */
static const char *const migrations[] = {
    "CREATE TABLE history_track(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, "
    "name TEXT NOT NULL, seen_s INTEGER NOT NULL) STRICT;"
    "CREATE INDEX history_track_name ON history_track(name);"
    "CREATE TABLE history_minute(start_s INTEGER NOT NULL, track INTEGER NOT NULL, "
    "low REAL NOT NULL, high REAL, mean REAL, last REAL, p95 REAL, count INTEGER NOT NULL, "
    "PRIMARY KEY(start_s, track)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE history_hour(track INTEGER NOT NULL, start_s INTEGER NOT NULL, "
    "low REAL NOT NULL, high REAL, mean REAL, last REAL, p95 REAL, count INTEGER NOT NULL, "
    "PRIMARY KEY(track, start_s)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE history_done(start_s INTEGER PRIMARY KEY) STRICT;"
    "CREATE VIEW history_minutes AS SELECT t.key, m.start_s, m.low, "
    "coalesce(m.high, m.low) AS high, coalesce(m.mean, m.low) AS mean, "
    "coalesce(m.last, m.low) AS last, coalesce(m.p95, m.low) AS p95, m.count, m.track "
    "FROM history_minute m CROSS JOIN history_track t ON t.id = m.track;"
    "CREATE VIEW history_hours AS SELECT t.key, h.start_s, h.low, "
    "coalesce(h.high, h.low) AS high, coalesce(h.mean, h.low) AS mean, "
    "coalesce(h.last, h.low) AS last, coalesce(h.p95, h.low) AS p95, h.count, h.track "
    "FROM history_hour h CROSS JOIN history_track t ON t.id = h.track;"
    "CREATE VIEW history_put AS SELECT key, name, seen_s AS start_s, 0.0 AS low, 0.0 AS high, "
    "0.0 AS mean, 0.0 AS last, 0.0 AS p95, 0 AS count FROM history_track;"
    "CREATE TRIGGER history_put_row INSTEAD OF INSERT ON history_put BEGIN "
    "INSERT INTO history_track(key, name, seen_s) VALUES(new.key, new.name, new.start_s) "
    "ON CONFLICT(key) DO NOTHING;"
    "INSERT INTO history_minute(start_s, track, low, high, mean, last, p95, count) "
    "SELECT new.start_s, id, new.low, new.high, new.mean, new.last, new.p95, new.count "
    "FROM history_track WHERE key = new.key "
    "ON CONFLICT(start_s, track) DO UPDATE SET low = min(low, excluded.low), "
    "high = max(coalesce(high, low), coalesce(excluded.high, excluded.low)), "
    "mean = (coalesce(mean, low) * count + coalesce(excluded.mean, excluded.low) * "
    "excluded.count) / (count + excluded.count), "
    "last = coalesce(excluded.last, excluded.low), "
    "p95 = max(coalesce(p95, low), coalesce(excluded.p95, excluded.low)), "
    "count = min(60, count + excluded.count);"
    "END",
    NULL,
};

/* How long rows stay is a matter of its own; see put_hours. */
const struct ps_ledger_room ps_rollup_ledger_room = {.name = "history", .migrations = migrations};

static const char put_minute[] =
    "INSERT INTO history_put(key, name, start_s, low, high, mean, last, p95, count) "
    "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/* All hours from ?1 to before ?2 that were not made yet. The group is made first, its last value looked
 * up then: one row instead of a sort. */
static const char make_hours[] =
    "WITH RECURSIVE hours(hour) AS (SELECT ?1 UNION ALL SELECT hour + 3600 FROM hours "
    "WHERE hour + 3600 < ?2), "
    "parts AS (SELECT track, hour, min(low) AS low, max(coalesce(high, low)) AS high, "
    "sum(coalesce(mean, low) * count) / sum(count) AS mean, max(start_s) AS latest, "
    "max(coalesce(p95, low)) AS p95, sum(count) AS count "
    "FROM hours CROSS JOIN history_minute ON start_s >= hour AND start_s < hour + 3600 "
    "WHERE hour NOT IN (SELECT start_s FROM history_done) GROUP BY track, hour) "
    "INSERT OR REPLACE INTO history_hour(track, start_s, low, high, mean, last, p95, count) "
    "SELECT track, hour, low, nullif(high, low), iif(high = low, NULL, mean), "
    "iif(high = low, NULL, (SELECT coalesce(m.last, m.low) FROM history_minute m "
    "WHERE m.start_s = latest AND m.track = parts.track)), "
    "iif(high = low, NULL, p95), count FROM parts";

static const char mark_hours[] =
    "WITH RECURSIVE hours(hour) AS (SELECT ?1 UNION ALL SELECT hour + 3600 FROM hours "
    "WHERE hour + 3600 < ?2) "
    "INSERT OR IGNORE INTO history_done(start_s) SELECT hour FROM hours";

static const char mark_tracks[] =
    "UPDATE history_track SET seen_s = ?2 WHERE id IN "
    "(SELECT track FROM history_minute WHERE start_s >= ?1 AND start_s < ?2)";

static const char drop_minutes[] = "DELETE FROM history_minute WHERE start_s < ?1";
static const char drop_hours[] = "DELETE FROM history_hour WHERE start_s < ?1 AND track IN "
                                 "(SELECT id FROM history_track)";
static const char drop_done[] = "DELETE FROM history_done WHERE start_s < ?1";
static const char drop_lost[] = "DELETE FROM history_hour WHERE track IN "
                                "(SELECT id FROM history_track WHERE seen_s < ?1)";
static const char drop_tracks[] = "DELETE FROM history_track WHERE seen_s < ?1";

static const char put_p95[] = "UPDATE history_hour SET p95 = ?3 WHERE start_s = ?2 AND count = ?4 "
                              "AND high IS NOT NULL AND p95 > ?3 AND low <= ?3 AND "
                              "track = (SELECT id FROM history_track WHERE key = ?1)";

struct ps_rollup {
    struct ps_history *history;
    struct ps_ledger *ledger;
    int64_t keep_minutes; /* seconds */
    int64_t keep_hours;
    int64_t hours_made; /* hours that begin before this are made, or asked for */
    size_t count;       /* rows that wait for their batch */
    struct ps_ledger_value values[BATCH][VALUES];
    struct ps_ledger_statement statements[BATCH];
};

/* --- life ------------------------------------------------------------------------------------- */

int ps_rollup_new(struct ps_rollup **out, struct ps_history *history, struct ps_ledger *ledger)
{
    struct ps_rollup *rollup = calloc(1, sizeof *rollup);
    if (rollup == NULL) {
        return PS_ENOMEM;
    }
    rollup->history = history;
    rollup->ledger = ledger;
    *out = rollup;
    return PS_OK;
}

void ps_rollup_free(struct ps_rollup *rollup)
{
    free(rollup);
}

void ps_rollup_keep(struct ps_rollup *rollup, ps_span minutes, ps_span hours)
{
    rollup->keep_minutes = minutes / PS_SECOND;
    rollup->keep_hours = hours / PS_SECOND;
}

bool ps_rollup_is_kept(const struct ps_rollup *rollup)
{
    return rollup->ledger != NULL;
}

/* --- rows ------------------------------------------------------------------------------------- */

static void flush(struct ps_rollup *rollup)
{
    if (rollup->count > 0) { /* what it has no room for is counted there */
        PS_IGNORE(ps_ledger_write(rollup->ledger, rollup->statements, rollup->count, NULL, NULL));
    }
    rollup->count = 0;
}

static struct ps_ledger_value text(struct ps_str of)
{
    return (struct ps_ledger_value){.type = PS_LEDGER_TEXT, .text = of};
}

static void add_minute(struct ps_rollup *rollup, const struct ps_history_minute *minute)
{
    const struct ps_history_roll *roll = &minute->roll;
    const struct ps_ledger_value null = {.type = PS_LEDGER_NULL};
    bool still = roll->min == roll->max;
    struct ps_ledger_value *values = rollup->values[rollup->count];
    values[0] = text(minute->track->key);
    values[1] = text(minute->track->name);
    values[2] = ps_ledger_integer(minute->start);
    values[3] = ps_ledger_real(roll->min);
    values[4] = still ? null : ps_ledger_real(roll->max);
    values[5] = still ? null : ps_ledger_real(roll->mean);
    values[6] = still ? null : ps_ledger_real(roll->last);
    values[7] = still ? null : ps_ledger_real(roll->p95);
    values[8] = ps_ledger_integer(roll->count);
    rollup->statements[rollup->count++] = (struct ps_ledger_statement){put_minute, values, 9};
}

static void add_hour(struct ps_rollup *rollup, const struct ps_history_hour *hour)
{
    struct ps_ledger_value *values = rollup->values[rollup->count];
    values[0] = text(hour->track->key);
    values[1] = ps_ledger_integer(hour->start);
    values[2] = ps_ledger_real(hour->p95);
    values[3] = ps_ledger_integer((int64_t)hour->count);
    rollup->statements[rollup->count++] = (struct ps_ledger_statement){put_p95, values, 4};
}

/* Makes what hours there are before `now` and takes away what is too old. One entry. */
static void put_hours(struct ps_rollup *rollup, int64_t now)
{
    int64_t first = now - rollup->keep_minutes;
    const struct ps_ledger_value span[] = {ps_ledger_integer(first - first % HOUR),
                                           ps_ledger_integer(now)};
    const struct ps_ledger_value hour[] = {ps_ledger_integer(now - HOUR), ps_ledger_integer(now)};
    const struct ps_ledger_value minutes = ps_ledger_integer(first);
    const struct ps_ledger_value done = ps_ledger_integer(first - 2 * HOUR);
    const struct ps_ledger_value hours = ps_ledger_integer(now - rollup->keep_hours);
    int64_t longest = rollup->keep_hours > rollup->keep_minutes ? rollup->keep_hours
                                                                : rollup->keep_minutes;
    const struct ps_ledger_value tracks = ps_ledger_integer(now - longest);
    const struct ps_ledger_statement statements[] = {
        {make_hours, span, 2},     {mark_hours, span, 2},   {mark_tracks, hour, 2},
        {drop_minutes, &minutes, 1}, {drop_hours, &hours, 1}, {drop_done, &done, 1},
        {drop_lost, &tracks, 1},   {drop_tracks, &tracks, 1},
    };
    PS_IGNORE(ps_ledger_write(rollup->ledger, statements, PS_ARRAY_LEN(statements), NULL, NULL));
}

/* Hours are made when the minutes before them are on their way. The first is asked for at once: who
 * knows what the program before this one left. */
static void make_hours_due(struct ps_rollup *rollup)
{
    int64_t now = ps_history_second(rollup->history);
    now -= now % HOUR;
    if (now != rollup->hours_made) {
        flush(rollup);
        rollup->hours_made = now;
        put_hours(rollup, now);
    }
}

/* One minute or hour into the batch. False: there is none. */
static bool add_next(struct ps_rollup *rollup)
{
    struct ps_history_minute minute;
    struct ps_history_hour hour;
    if (ps_history_take_minute(rollup->history, &minute)) {
        add_minute(rollup, &minute);
        return true;
    }
    make_hours_due(rollup);
    if (ps_history_take_hour(rollup->history, &hour)) {
        add_hour(rollup, &hour);
        return true;
    }
    if (ps_history_take_minute(rollup->history, &minute)) {
        add_minute(rollup, &minute);
        return true;
    }
    return false;
}

bool ps_rollup_write(struct ps_rollup *rollup, size_t most)
{
    bool more = true;
    for (size_t i = 0; i < most && more; i++) {
        more = add_next(rollup);
        if (rollup->count == BATCH) {
            flush(rollup);
        }
    }
    flush(rollup); /* keys are borrowed for now only */
    return more;
}

void ps_rollup_finish(struct ps_rollup *rollup)
{
    ps_history_finish(rollup->history);
    while (ps_rollup_write(rollup, SIZE_MAX)) {
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

static const char find_tracks[] =
    "SELECT id, key FROM history_track WHERE name IN (SELECT value FROM json_each(?1)) ORDER BY id";

#define FIGURES                                                                                    \
    "min(low) AS low, max(high) AS high, sum(mean * count) / sum(count) AS mean, "                 \
    "max(start_s) AS latest, max(p95) AS p95, sum(count) AS count "
#define FILLED                                                                                     \
    "low, coalesce(high, low) AS high, coalesce(mean, low) AS mean, coalesce(last, low) AS last, " \
    "coalesce(p95, low) AS p95, count "

/* Minute by minute, and in each only the tracks that were asked for: the table is in order of time. */
static const char read_minutes[] =
    "WITH RECURSIVE minutes(minute) AS (SELECT ?2 UNION ALL SELECT minute + 60 FROM minutes "
    "WHERE minute + 60 < ?3), "
    "part AS (SELECT track, start_s, " FILLED "FROM minutes CROSS JOIN json_each(?1) CROSS JOIN "
    "history_minute ON start_s = minute AND track = value), "
    "slots AS (SELECT track, start_s / ?4 * ?4 AS slot, " FIGURES "FROM part GROUP BY 1, 2) "
    "SELECT track, slot, low, high, mean, (SELECT coalesce(m.last, m.low) FROM history_minute m "
    "WHERE m.start_s = latest AND m.track = slots.track), p95, count FROM slots ORDER BY 1, 2";

/* From ?5 on there are only minutes. */
static const char read_hours[] =
    "WITH RECURSIVE minutes(minute) AS (SELECT max(?2, ?5) WHERE max(?2, ?5) < ?3 "
    "UNION ALL SELECT minute + 60 FROM minutes WHERE minute + 60 < ?3), "
    "part AS (SELECT track, start_s, " FILLED "FROM json_each(?1) CROSS JOIN history_hour "
    "ON track = value AND start_s >= ?2 AND start_s < min(?3, ?5) "
    "UNION ALL SELECT track, start_s, " FILLED "FROM minutes CROSS JOIN json_each(?1) CROSS JOIN "
    "history_minute ON start_s = minute AND track = value), "
    "slots AS (SELECT track, start_s / ?4 * ?4 AS slot, " FIGURES "FROM part GROUP BY 1, 2) "
    "SELECT track, slot, low, high, mean, iif(latest < ?5, (SELECT coalesce(h.last, h.low) "
    "FROM history_hour h WHERE h.track = slots.track AND h.start_s = latest), "
    "(SELECT coalesce(m.last, m.low) FROM history_minute m WHERE m.start_s = latest "
    "AND m.track = slots.track)), p95, count FROM slots ORDER BY 1, 2";

int ps_rollup_find(struct ps_rollup *rollup, struct ps_str names, size_t most, ps_ledger_fn *on_end,
                   void *ctx)
{
    const struct ps_ledger_value value = text(names);
    const struct ps_ledger_statement statement = {find_tracks, &value, 1};
    return ps_ledger_read(rollup->ledger, &statement, most, on_end, ctx);
}

int ps_rollup_read(struct ps_rollup *rollup, const struct ps_rollup_range *range, size_t most,
                   ps_ledger_fn *on_end, void *ctx)
{
    const struct ps_ledger_value values[] = {
        text(range->ids),
        ps_ledger_integer(range->from),
        ps_ledger_integer(range->to),
        ps_ledger_integer(range->step),
        ps_ledger_integer(rollup->hours_made),
    };
    const struct ps_ledger_statement statement = {range->hours ? read_hours : read_minutes, values,
                                                  range->hours ? 5 : 4};
    return ps_ledger_read(rollup->ledger, &statement, most, on_end, ctx);
}
