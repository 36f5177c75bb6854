/* tally - see tally.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load/tally.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* --------------------------------------------------------------------------------- counting */

static ps_span per_token(const struct ps_session_result *result)
{
    bool known = result->output_tokens > 1 && result->texts > 1;
    return known ? (result->last_text - result->first_text) / (ps_span)(result->output_tokens - 1) : -1;
}

static void add_times(struct ps_tally *tally, const struct ps_session_result *result)
{
    ps_hist_record(&tally->corrected, result->end - result->intended);
    ps_hist_record(&tally->latency, result->end - result->sent);
    ps_hist_record(&tally->first_byte, result->first_byte - result->sent);
    if (result->texts == 0) {
        return;
    }
    ps_hist_record(&tally->ttft_corrected, result->first_text - result->intended);
    ps_hist_record(&tally->ttft, result->first_text - result->sent);
    if (per_token(result) >= 0) {
        ps_hist_record(&tally->token_gap, per_token(result));
    }
}

/* What was not measured (no text, one token) breaks no objective of it. */
static bool is_within(ps_span measured, ps_span objective)
{
    return objective == 0 || measured <= objective;
}

static bool is_good(const struct ps_session_result *result, const struct ps_objectives *objectives)
{
    ps_span ttft = result->texts == 0 ? 0 : result->first_text - result->intended;
    return objectives == NULL || (is_within(ttft, objectives->ttft) &&
                                  is_within(per_token(result), objectives->per_token) &&
                                  is_within(result->end - result->intended, objectives->latency));
}

static void add_failure(struct ps_tally *tally, const struct ps_session_result *result)
{
    tally->failed++;
    if (tally->failures[result->failure]++ == 0) {
        snprintf(tally->examples[result->failure], sizeof tally->examples[0], "%s",
                 result->detail);
    }
}

static void add_instants(struct ps_tally *tally, ps_time intended, ps_time end)
{
    bool first = ps_tally_ended(tally) == 0 && !tally->stopped;
    tally->first_intended = first || intended < tally->first_intended ? intended : tally->first_intended;
    tally->last_end = first || end > tally->last_end ? end : tally->last_end;
}

void ps_tally_add(struct ps_tally *tally, const struct ps_session_result *result,
                  const struct ps_objectives *objectives)
{
    add_instants(tally, result->intended, result->end);
    if (result->status >= 0 && result->status < PS_TALLY_STATUSES) {
        tally->statuses[result->status]++;
    }
    tally->output_tokens += result->output_tokens;
    tally->bytes_received += result->bytes;
    if (result->failure != PS_FAILURE_NONE) {
        add_failure(tally, result);
    } else if (result->cancelled) {
        tally->cancelled++;
    } else {
        tally->succeeded++;
        tally->prompt_tokens += result->prompt_tokens;
        tally->good += is_good(result, objectives) ? 1 : 0;
        add_times(tally, result);
    }
}

void ps_tally_sent(struct ps_tally *tally, ps_time intended, ps_time now, ps_span max_lag, size_t bytes)
{
    tally->sent++;
    tally->late += now - intended > max_lag ? 1 : 0;
    tally->bytes_sent += bytes;
    ps_hist_record(&tally->lag, now - intended);
}

/* ------------------------------------------------------------------------------------ merging */

/* Every counter and histogram that adds up: offsets, so that merging and clearing can't miss one. */
#define COUNT(field) offsetof(struct ps_tally, field)
static const size_t counters[] = {
    COUNT(sent),       COUNT(late),          COUNT(skipped),       COUNT(succeeded),
    COUNT(failed),     COUNT(good),          COUNT(cancelled),     COUNT(unfinished),
    COUNT(texts),      COUNT(prompt_tokens), COUNT(output_tokens), COUNT(bytes_sent),
    COUNT(bytes_received), COUNT(connects),
};
static const size_t hists[] = {
    COUNT(corrected), COUNT(latency),   COUNT(first_byte), COUNT(ttft_corrected),
    COUNT(ttft),      COUNT(token_gap), COUNT(event_gap),  COUNT(lag),
};
static_assert(offsetof(struct ps_tally, failures) == PS_ARRAY_LEN(counters) * sizeof(uint64_t),
              "a counter is missing in the list");
static_assert(offsetof(struct ps_tally, first_intended) - offsetof(struct ps_tally, corrected) ==
                  PS_ARRAY_LEN(hists) * sizeof(struct ps_hist),
              "a histogram is missing in the list");
#undef COUNT

static struct ps_hist *hist_at(struct ps_tally *tally, size_t offset)
{
    return (struct ps_hist *)(void *)((char *)tally + offset);
}

static void merge_failures(struct ps_tally *tally, const struct ps_tally *from)
{
    for (size_t i = 0; i < PS_FAILURE_COUNT; i++) {
        if (tally->failures[i] == 0 && from->failures[i] > 0) {
            memcpy(tally->examples[i], from->examples[i], sizeof tally->examples[i]);
        }
        tally->failures[i] += from->failures[i];
    }
    for (size_t i = 0; i < PS_TALLY_STATUSES; i++) {
        tally->statuses[i] += from->statuses[i];
    }
}

void ps_tally_merge(struct ps_tally *tally, const struct ps_tally *from)
{
    if (ps_tally_ended(from) > 0 || from->stopped) {
        add_instants(tally, from->first_intended, from->last_end);
        tally->stopped = tally->stopped || from->stopped;
    }
    merge_failures(tally, from);
    for (size_t i = 0; i < PS_ARRAY_LEN(counters); i++) {
        uint64_t more;
        memcpy(&more, (const char *)from + counters[i], sizeof more);
        *(uint64_t *)(void *)((char *)tally + counters[i]) += more;
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(hists); i++) {
        const void *more = (const char *)from + hists[i];
        ps_hist_merge(hist_at(tally, hists[i]), more);
    }
}

void ps_tally_clear(struct ps_tally *tally)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(hists); i++) {
        ps_hist_clear(hist_at(tally, hists[i]));
    }
    memset(tally, 0, offsetof(struct ps_tally, corrected));
    tally->first_intended = tally->last_end = 0;
    tally->stopped = false;
}

bool ps_tally_is_limited(const struct ps_tally *tally)
{
    return tally->skipped > 0 || (tally->late > 1 && tally->late * 100 > tally->sent);
}

void ps_tally_stop(struct ps_tally *tally, uint64_t unfinished, ps_time began, ps_time now)
{
    add_instants(tally, ps_tally_ended(tally) == 0 ? began : tally->first_intended, now);
    tally->stopped = true;
    tally->unfinished += unfinished;
}

uint64_t ps_tally_ended(const struct ps_tally *tally)
{
    return tally->succeeded + tally->failed + tally->cancelled;
}

double ps_tally_error_percent(const struct ps_tally *tally)
{
    uint64_t meant = tally->succeeded + tally->failed;
    return meant == 0 ? NAN : 100.0 * (double)tally->failed / (double)meant;
}

double ps_tally_seconds(const struct ps_tally *tally)
{
    bool begun = ps_tally_ended(tally) > 0 || tally->stopped;
    return begun ? ps_span_seconds(tally->last_end - tally->first_intended) : 0;
}

static double per_second(uint64_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

/* -------------------------------------------------------------------------------------- text */

const char *ps_tally_span_text(double ns, char *text, size_t size)
{
    if (isnan(ns)) {
        snprintf(text, size, "-");
    } else if (ns < 1e6) {
        snprintf(text, size, "%.0f us", ns / 1e3);
    } else if (ns < 1e8) {
        snprintf(text, size, "%.1f ms", ns / 1e6);
    } else if (ns < 1e9) {
        snprintf(text, size, "%.0f ms", ns / 1e6);
    } else {
        snprintf(text, size, "%.2f s", ns / 1e9);
    }
    return text;
}

static int print_row(const char *name, const struct ps_hist *hist, struct ps_buf *out)
{
    static const double shares[] = {0.5, 0.9, 0.95, 0.99, 1};
    if (hist->count == 0) {
        return PS_OK;
    }
    int err = ps_buf_printf(out, "%-23s", name);
    for (size_t i = 0; err == PS_OK && i < sizeof shares / sizeof *shares; i++) {
        char text[24];
        ps_tally_span_text(ps_hist_percentile(hist, shares[i]), text, sizeof text);
        err = ps_buf_printf(out, "%11s", text);
    }
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\n")) : err;
}

static int print_rows(const struct ps_tally *tally, struct ps_buf *out)
{
    const struct {
        const char *name;
        const struct ps_hist *hist;
    } rows[] = {
        {"latency", &tally->corrected},
        {"time to first token", &tally->ttft_corrected},
        {"latency from send", &tally->latency},
        {"first token from send", &tally->ttft},
        {"time per token", &tally->token_gap},
        {"send lag", &tally->lag},
    };
    int err = ps_buf_printf(out, "\n%-23s%11s%11s%11s%11s%11s\n", "", "p50", "p90", "p95", "p99",
                            "max");
    for (size_t i = 0; err == PS_OK && i < sizeof rows / sizeof *rows; i++) {
        err = print_row(rows[i].name, rows[i].hist, out);
    }
    return err;
}

static int print_statuses(const struct ps_tally *tally, struct ps_buf *out)
{
    int err = PS_OK;
    for (int status = 0; err == PS_OK && status < PS_TALLY_STATUSES; status++) {
        bool good = status < 100 || (status >= 200 && status < 300);
        if (!good && tally->statuses[status] > 0) {
            err = ps_buf_printf(out, "    %d: %llu\n", status,
                                (unsigned long long)tally->statuses[status]);
        }
    }
    return err;
}

static int print_failures(const struct ps_tally *tally, struct ps_buf *out)
{
    int err = PS_OK;
    for (int i = 0; err == PS_OK && i < PS_FAILURE_COUNT; i++) {
        if (tally->failures[i] == 0) {
            continue;
        }
        err = ps_buf_printf(out, "  %s: %llu, the first: %s\n", ps_failure_text((enum ps_failure)i),
                            (unsigned long long)tally->failures[i], tally->examples[i]);
        if (err == PS_OK && i == PS_FAILURE_STATUS) {
            err = print_statuses(tally, out);
        }
    }
    return err;
}

static int print_counts(const struct ps_tally *tally, const struct ps_tally_title *title, struct ps_buf *out)
{
    double seconds = ps_tally_seconds(tally);
    int err = ps_buf_printf(out, "%s of %s at ", title->name, title->source);
    if (err == PS_OK) {
        err = title->speed == 1 ? ps_buf_append_str(out, PS_STR("its recorded speed"))
                                : ps_buf_printf(out, "%g times its speed", title->speed);
    }
    if (err == PS_OK) {
        err = ps_buf_printf(out, "\nto %s\n\n", title->target);
    }
    if (err == PS_OK) {
        err = ps_buf_printf(
            out, "requests   %llu sent in %.1f s (%.2f/s), %llu succeeded, %llu failed",
            (unsigned long long)tally->sent, seconds, per_second(tally->sent, seconds),
            (unsigned long long)tally->succeeded, (unsigned long long)tally->failed);
    }
    if (err == PS_OK && tally->unfinished > 0) {
        err = ps_buf_printf(out, "\nunfinished %llu still in flight when it was stopped",
                            (unsigned long long)tally->unfinished);
    }
    if (err == PS_OK && tally->prompt_tokens + tally->output_tokens > 0) {
        err = ps_buf_printf(out, "\ntokens     %llu in, %llu out (%.1f out/s)",
                            (unsigned long long)tally->prompt_tokens,
                            (unsigned long long)tally->output_tokens,
                            per_second(tally->output_tokens, seconds));
    }
    err = err == PS_OK ? ps_buf_append_str(out, PS_STR("\n")) : err;
    if (err == PS_OK && title->cut > 0) {
        err = ps_buf_printf(out, "prompts    %llu were cut to --max-prompt-tokens\n",
                            (unsigned long long)title->cut);
    }
    if (err == PS_OK && tally->failed > 0) {
        err = ps_buf_printf(out, "errors     %.3f %%\n",
                            ps_tally_error_percent(tally));
    }
    return err == PS_OK ? print_failures(tally, out) : err;
}

static int print_limited(const struct ps_tally *tally, struct ps_buf *out)
{
    return ps_buf_printf(
        out,
        "\ngenerator_limited: %llu of %llu requests left late and %llu could not be\n"
        "  sent (bound on requests in flight, or descriptors). The figures above are this\n"
        "  program's as much as the server's: use a lower --speed, or a machine of its\n"
        "  own for the load.\n",
        (unsigned long long)tally->late, (unsigned long long)tally->sent,
        (unsigned long long)tally->skipped);
}

int ps_tally_text(const struct ps_tally *tally, const struct ps_tally_title *title, struct ps_buf *out)
{
    int err = print_counts(tally, title, out);
    if (err == PS_OK) {
        err = print_rows(tally, out);
    }
    return err == PS_OK && ps_tally_is_limited(tally) ? print_limited(tally, out) : err;
}

/* -------------------------------------------------------------------------------------- JSON */

static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *milliseconds(const struct ps_hist *hist)
{
    double ms = 1e-6;
    if (hist->count == 0) {
        return json_object(); /* unknown is absent, never 0 */
    }
    return json_pack("{s:f, s:o, s:f, s:f, s:f, s:f, s:f, s:I}", "min", (double)hist->min * ms,
                     "mean", number_or_null(ps_hist_mean(hist) * ms), "median",
                     ps_hist_percentile(hist, 0.5) * ms, "p90", ps_hist_percentile(hist, 0.9) * ms,
                     "p95", ps_hist_percentile(hist, 0.95) * ms, "p99",
                     ps_hist_percentile(hist, 0.99) * ms, "max", (double)hist->max * ms, "count",
                     (json_int_t)hist->count);
}

/* What a server said may not be UTF-8: then it is left out. */
static json_t *text_or_null(const char *text)
{
    json_t *string = json_string(text);
    return string == NULL ? json_null() : string;
}

static json_t *failures(const struct ps_tally *tally)
{
    json_t *list = json_array();
    for (int i = 0; i < PS_FAILURE_COUNT; i++) {
        if (tally->failures[i] > 0) {
            json_t *item = json_pack("{s:s, s:I, s:o}", "kind", ps_failure_text((enum ps_failure)i),
                                     "count", (json_int_t)tally->failures[i], "example",
                                     text_or_null(tally->examples[i]));
            json_array_append_new(list, item);
        }
    }
    return list;
}

static json_t *statuses(const struct ps_tally *tally)
{
    json_t *object = json_object();
    for (int status = 100; status < PS_TALLY_STATUSES; status++) {
        char name[8];
        if (tally->statuses[status] > 0) {
            snprintf(name, sizeof name, "%d", status);
            json_object_set_new(object, name, json_integer((json_int_t)tally->statuses[status]));
        }
    }
    return object;
}

static json_t *counts(const struct ps_tally *tally, const struct ps_tally_title *title)
{
    double seconds = ps_tally_seconds(tally);
    double errors = ps_tally_error_percent(tally);
    return json_pack(
        "{s:o, s:o, s:f, s:f, s:I, s:I, s:I, s:I, s:o, s:f, s:I, s:I, s:f, s:I}", "source",
        text_or_null(title->source), "target", text_or_null(title->target), "speed", title->speed, "duration_seconds", seconds,
        "total_requests", (json_int_t)tally->sent, "successful_requests",
        (json_int_t)tally->succeeded, "failed_requests", (json_int_t)tally->failed,
        "unfinished_requests", (json_int_t)tally->unfinished, "error_rate_percent",
        number_or_null(errors), "rps", per_second(tally->sent, seconds), "prompt_tokens",
        (json_int_t)tally->prompt_tokens, "output_tokens", (json_int_t)tally->output_tokens,
        "output_tokens_per_second", per_second(tally->output_tokens, seconds), "prompts_cut",
        (json_int_t)title->cut);
}

int ps_tally_json(const struct ps_tally *tally, const struct ps_tally_title *title, struct ps_buf *out)
{
    json_t *root = counts(tally, title);
    if (root == NULL) {
        return PS_ENOMEM;
    }
    int failed = 0;
    failed |= json_object_set_new(root, "response_time_ms", milliseconds(&tally->corrected));
    failed |= json_object_set_new(root, "response_time_from_send_ms", milliseconds(&tally->latency));
    failed |= json_object_set_new(root, "ttft_ms", milliseconds(&tally->ttft_corrected));
    failed |= json_object_set_new(root, "ttft_from_send_ms", milliseconds(&tally->ttft));
    failed |= json_object_set_new(root, "time_per_token_ms", milliseconds(&tally->token_gap));
    failed |= json_object_set_new(root, "send_lag_ms", milliseconds(&tally->lag));
    failed |= json_object_set_new(root, "late_requests", json_integer((json_int_t)tally->late));
    failed |= json_object_set_new(root, "unsent_requests", json_integer((json_int_t)tally->skipped));
    failed |= json_object_set_new(root, "generator_limited",
                                  json_boolean(ps_tally_is_limited(tally)));
    failed |= json_object_set_new(root, "errors", failures(tally));
    failed |= json_object_set_new(root, "statuses", statuses(tally));
    char *text = failed ? NULL : json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    int err = text == NULL ? PS_ENOMEM : ps_buf_append_str(out, ps_str_from(text));
    free(text);
    json_decref(root);
    return err;
}
