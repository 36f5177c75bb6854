/* demo_story - see demo_story.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_story.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define MIB_OF_GIB 1024.0

static const char *const levels[] = {"low", "medium", "high", "critical"};

static double number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text == NULL ? "" : text;
}

/* Place of a level, from the best; -1 = it is none. */
static int rank_of(const char *level)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(levels); i++) {
        if (strcmp(levels[i], level) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* --- events ----------------------------------------------------------------------------------- */

const struct ps_demo_event *ps_demo_story_event(const struct ps_demo_story *story, uint64_t n)
{
    bool kept = n < story->count && n + PS_DEMO_EVENTS >= story->count;
    return kept ? &story->events[n % PS_DEMO_EVENTS] : NULL;
}

static void tell(struct ps_demo_story *story, ps_time now, const struct ps_demo_gauge *gauge,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

static void tell(struct ps_demo_story *story, ps_time now, const struct ps_demo_gauge *gauge,
                 const char *format, ...)
{
    struct ps_demo_event *event = &story->events[story->count++ % PS_DEMO_EVENTS];
    event->at = now;
    event->server = (unsigned)(gauge - story->gauges);
    event->simulated = gauge->simulated;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(event->text, sizeof event->text, format, args);
    va_end(args);
}

/* --- how the servers are ---------------------------------------------------------------------- */

/* The servers are known by host:port, which ends the text: a URL, or a name and a URL. */
static struct ps_demo_gauge *find_gauge(struct ps_demo_story *story, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < PS_DEMO_GAUGES; i++) {
        const char *address = story->gauges[i].address;
        size_t tail = address == NULL ? 0 : strlen(address);
        if (tail > 0 && tail <= len && strcmp(text + len - tail, address) == 0) {
            return &story->gauges[i];
        }
    }
    return NULL;
}

static void keep_sample(struct ps_demo_gauge *gauge, ps_time now)
{
    size_t at = gauge->samples++ % PS_DEMO_PAST;
    gauge->past[at] = gauge->percent;
    gauge->past_at[at] = now;
}

/* The latest of the lowest samples: where it began to climb. */
static size_t find_low(const struct ps_demo_gauge *gauge)
{
    size_t count = gauge->samples < PS_DEMO_PAST ? gauge->samples : PS_DEMO_PAST;
    size_t low = (gauge->samples - 1) % PS_DEMO_PAST;
    for (size_t i = 1; i <= count; i++) {
        size_t at = (gauge->samples - i) % PS_DEMO_PAST;
        low = gauge->past[at] < gauge->past[low] ? at : low;
    }
    return low;
}

/* "memory 41 % -> 63 % in 20 s", or "memory 63 %" where it did not climb. */
static const char *climb_text(const struct ps_demo_gauge *gauge, ps_time now, char *text,
                              size_t size)
{
    size_t low = find_low(gauge);
    const char *what = gauge->cache ? "KV cache" : "memory";
    double seconds = ps_span_seconds(now - gauge->past_at[low]);
    if (gauge->percent - gauge->past[low] < 1) {
        snprintf(text, size, "%s %.0f %%", what, gauge->percent);
    } else {
        snprintf(text, size, "%s %.0f %% -> %.0f %% in %.0f s", what, gauge->past[low],
                 gauge->percent, seconds);
    }
    return text;
}

/* ", full in 34 s (probability 0.80)"; what is not known is left out. */
static const char *outlook_text(const struct ps_demo_gauge *gauge, char *text, size_t size)
{
    char odds[40] = "";
    if (!isnan(gauge->probability)) {
        snprintf(odds, sizeof odds, " (probability %.2f)", gauge->probability);
    }
    text[0] = '\0';
    if (gauge->until >= 1) {
        snprintf(text, size, ", full in %.0f s%s", gauge->until, odds);
    } else if (gauge->until >= 0) {
        snprintf(text, size, ", full now%s", odds);
    } else if (odds[0] != '\0') {
        snprintf(text, size, ", it may run full%s", odds);
    }
    return text;
}

/* What is foreseen, when it is foreseen first; otherwise a level, when it is another one. */
static void tell_changes(struct ps_demo_story *story, ps_time now, struct ps_demo_gauge *gauge,
                         bool was_needed)
{
    char climb[64];
    char outlook[80];
    bool foreseen = gauge->needed && !was_needed;
    int before = gauge->told;
    int after = rank_of(gauge->level);
    climb_text(gauge, now, climb, sizeof climb);
    outlook_text(gauge, outlook, sizeof outlook);
    if (foreseen) {
        tell(story, now, gauge, "cleanup foreseen: %s%s", climb, outlook);
    }
    if (after < 0 || before == after) {
        return;
    }
    gauge->told = after;
    if (after > before && !foreseen) {
        tell(story, now, gauge, "%s%s: level %s -> %s", climb, outlook, levels[before],
             gauge->level);
    } else {
        tell(story, now, gauge, "level %s -> %s: %s at %.0f %%", levels[before], gauge->level,
             gauge->cache ? "KV cache" : "memory", gauge->percent);
    }
}

static void take_engine(struct ps_demo_story *story, ps_time now, const json_t *engine)
{
    struct ps_demo_gauge *gauge = find_gauge(story, text_of(engine, "endpoint"));
    const json_t *prediction = json_object_get(engine, "prediction");
    double percent = number_of(engine, "effective_percent");
    if (gauge == NULL) {
        return;
    }
    gauge->known = !isnan(percent);
    if (!gauge->known) {
        return;
    }
    bool was_needed = gauge->needed;
    gauge->simulated = json_is_true(json_object_get(engine, "simulated"));
    gauge->cache = strcmp(text_of(engine, "basis"), "kv_cache") == 0;
    gauge->percent = percent;
    gauge->needed = json_is_true(json_object_get(prediction, "cleanup_needed"));
    gauge->probability = number_of(prediction, "probability");
    gauge->until = number_of(prediction, "seconds_to_critical");
    snprintf(gauge->level, sizeof gauge->level, "%s", text_of(engine, "pressure_level"));
    keep_sample(gauge, now);
    tell_changes(story, now, gauge, was_needed);
}

void ps_demo_story_profile(struct ps_demo_story *story, ps_time now, struct ps_str json)
{
    json_t *root = json_loadb(json.ptr, json.len, 0, NULL);
    const json_t *engine;
    size_t i;
    json_array_foreach(json_object_get(root, "engines"), i, engine)
    {
        take_engine(story, now, engine);
    }
    json_decref(root);
}

/* --- what was done about it ------------------------------------------------------------------- */

/* " in 1.2 s": from the call to the verdict. */
static const char *took_text(const json_t *step, char *text, size_t size)
{
    double seconds =
        number_of(step, "answered_after_seconds") + number_of(step, "verdict_after_seconds");
    text[0] = '\0';
    if (!isnan(seconds)) {
        snprintf(text, size, " in %.1f s", seconds);
    }
    return text;
}

/* What came of it, in words. */
static void write_result(const json_t *step, char *text, size_t size)
{
    char took[24];
    const char *verdict = text_of(step, "verdict");
    double freed = number_of(step, "freed_mb") / MIB_OF_GIB;
    took_text(step, took, sizeof took);
    if (strcmp(verdict, "freed") == 0 && !isnan(freed)) {
        snprintf(text, size, "%.1f GiB freed%s", freed, took);
    } else if (strcmp(verdict, "not_freed") == 0 && !isnan(freed)) {
        snprintf(text, size, "only %.1f GiB freed%s", fmax(freed, 0), took);
    } else if (strcmp(verdict, "unproven") == 0) {
        snprintf(text, size, "gone by its own account%s", took);
    } else {
        snprintf(text, size, "%.20s%s%.80s", verdict,
                 text_of(step, "reason")[0] == '\0' ? "" : ", ", text_of(step, "reason"));
    }
}

static void tell_step(struct ps_demo_story *story, ps_time now, const json_t *step)
{
    const struct ps_demo_gauge *gauge = find_gauge(story, text_of(step, "server"));
    char expected[32] = "";
    char result[128];
    double wanted = number_of(step, "expected_mb") / MIB_OF_GIB;
    if (gauge == NULL) {
        return;
    }
    if (!isnan(wanted)) {
        snprintf(expected, sizeof expected, "%.1f GiB expected, ", wanted);
    }
    write_result(step, result, sizeof result);
    const char *model = text_of(step, "model");
    tell(story, now, gauge, "%s%s%.40s: %s%s", text_of(step, "rung"), model[0] == '\0' ? "" : " ",
         model, expected, result);
}

/* Of the server that the first step was about; a cleanup that did nothing is not told of. */
static void tell_end(struct ps_demo_story *story, ps_time now, const json_t *cleanup)
{
    const json_t *step = json_array_get(json_object_get(cleanup, "steps"), 0);
    const struct ps_demo_gauge *gauge = find_gauge(story, text_of(step, "server"));
    bool met = strcmp(text_of(cleanup, "outcome"), "target_met") == 0;
    double before = number_of(cleanup, "percent_before");
    double after = number_of(cleanup, "percent_after");
    double target = number_of(cleanup, "target_percent");
    if (gauge != NULL && !isnan(before) && !isnan(after) && !isnan(target)) {
        tell(story, now, gauge, "cleanup ended: %.0f %% -> %.0f %%, the target of %.0f %% is %s",
             before, after, target, met ? "met" : "not met");
    }
}

/* A step that is still under way is told of when it has ended. */
static bool has_ended(const json_t *step)
{
    const char *verdict = text_of(step, "verdict");
    return strcmp(verdict, "calling") != 0 && strcmp(verdict, "measuring") != 0;
}

static void tell_cleanup(struct ps_demo_story *story, ps_time now, const json_t *cleanup)
{
    const json_t *steps = json_object_get(cleanup, "steps");
    const json_t *step;
    while ((step = json_array_get(steps, story->steps)) != NULL && has_ended(step)) {
        tell_step(story, now, step);
        story->steps++;
    }
    if (strcmp(text_of(cleanup, "outcome"), "running") != 0) {
        story->ended = true;
        tell_end(story, now, cleanup);
    }
}

/* The newest comes first; told are those that came since, from the oldest. */
void ps_demo_story_report(struct ps_demo_story *story, ps_time now, struct ps_str json)
{
    json_t *root = json_loadb(json.ptr, json.len, 0, NULL);
    const json_t *cleanups = json_object_get(root, "cleanups");
    for (size_t i = json_array_size(cleanups); i > 0; i--) {
        const json_t *cleanup = json_array_get(cleanups, i - 1);
        int64_t id = json_integer_value(json_object_get(cleanup, "id"));
        if (id <= 0) {
            continue;
        }
        if (id > story->cleanup) {
            story->cleanup = id;
            story->steps = 0;
            story->ended = false;
        }
        if (id == story->cleanup && !story->ended) {
            tell_cleanup(story, now, cleanup);
        }
    }
    json_decref(root);
}
