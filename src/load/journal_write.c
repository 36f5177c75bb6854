/* journal_write - the lines of a journal, see journal_line.h.
 *
 * Written by hand rather than as a tree: a second is written while requests are being sent.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/writer.h"
#include "load/clean.h"
#include "load/journal_line.h"
#include "load/report_section.h"
#include "load/sparse.h"

/* An object that is being written. */
struct line {
    struct ps_writer *out;
    bool begun;
};

static void put(struct line *line, const char *text)
{
    ps_writer_text(line->out, text);
}

static void put_name(struct line *line, const char *name)
{
    put(line, line->begun ? ",\"" : "{\"");
    put(line, name);
    put(line, "\":");
    line->begun = true;
}

static void put_count(struct line *line, const char *name, uint64_t value)
{
    if (value > 0) {
        put_name(line, name);
        ps_writer_u64(line->out, value);
    }
}

static void put_number(struct line *line, const char *name, double value)
{
    if (isfinite(value)) {
        put_name(line, name);
        ps_writer_printf(line->out, "%.17g", value);
    }
}

static void put_quoted(struct line *line, const char *value, size_t limit)
{
    char text[512];
    ps_clean_text(ps_str_from(value), text, limit < sizeof text ? limit : sizeof text);
    ps_writer_string(line->out, ps_str_from(text));
}

static void put_text(struct line *line, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        put_name(line, name);
        put_quoted(line, value, 512);
    }
}

/* [least, most, sum, "steps"] */
static void put_hist(struct line *line, const char *name, const struct ps_hist *hist)
{
    if (hist == NULL || hist->count == 0) {
        return;
    }
    put_name(line, name);
    ps_writer_printf(line->out, "[%" PRId64 ",%" PRId64 ",%.17g,\"", hist->min, hist->max, hist->sum);
    if (line->out->err == PS_OK) {
        line->out->err = ps_sparse_write(hist->steps, PS_HIST_STEPS, line->out->buf);
    }
    put(line, "\"]");
}

/* {"200":48,"503":2} */
static void put_statuses(struct line *line, const uint64_t *statuses)
{
    struct line inner = {line->out, false};
    for (unsigned i = 1; statuses != NULL && i < PS_SECOND_STATUSES; i++) {
        char name[16];
        if (statuses[i] > 0) {
            if (!inner.begun) {
                put_name(line, "statuses");
            }
            snprintf(name, sizeof name, "%u", i);
            put_count(&inner, name, statuses[i]);
        }
    }
    if (inner.begun) {
        put(line, "}");
    }
}

static void put_failure(struct line *line, const struct ps_second_failure *failure)
{
    struct line inner = {line->out, false};
    put_text(&inner, "kind", failure->kind);
    put_count(&inner, "count", failure->count);
    put_text(&inner, "example", failure->example);
    put(&inner, "}");
}

static void put_failures(struct line *line, const struct ps_second *second)
{
    bool begun = false;
    for (size_t i = 0; i < second->failure_count && i < PS_SECOND_FAILURES; i++) {
        const struct ps_second_failure *failure = &second->failures[i];
        if (failure->count == 0 || failure->kind == NULL || failure->kind[0] == '\0') {
            continue;
        }
        if (begun) {
            put(line, ",");
        } else {
            put_name(line, "failures");
            put(line, "[");
        }
        put_failure(line, failure);
        begun = true;
    }
    if (begun) {
        put(line, "]");
    }
}

int ps_journal_write_second(const struct ps_second *second, struct ps_buf *out)
{
    struct ps_writer writer = {out, PS_OK};
    struct line line = {&writer, false};
    put_number(&line, "at", second->at);
    put_number(&line, "span", second->span);
    put_text(&line, "phase", second->phase);
    put_number(&line, "target_rps", second->target_rps);
    put_count(&line, "sent", second->sent);
    put_count(&line, "succeeded", second->succeeded);
    put_count(&line, "failed", second->failed);
    put_count(&line, "canceled", second->canceled);
    put_count(&line, "skipped", second->skipped);
    put_count(&line, "late", second->late);
    put_count(&line, "good", second->good);
    put_count(&line, "in_flight", second->in_flight);
    put_count(&line, "prompt_tokens", second->prompt_tokens);
    put_count(&line, "output_tokens", second->output_tokens);
    put_number(&line, "cpu_percent", second->cpu_percent);
    put_number(&line, "target_cpu_percent", second->target_cpu_percent);
    put_number(&line, "target_memory_bytes", second->target_memory_bytes);
    put_number(&line, "target_descriptors", second->target_descriptors);
    put_hist(&line, "corrected", second->corrected);
    put_hist(&line, "latency", second->latency);
    put_hist(&line, "ttft_corrected", second->ttft_corrected);
    put_hist(&line, "ttft", second->ttft);
    put_hist(&line, "token_gap", second->token_gap);
    put_hist(&line, "lag", second->lag);
    put_statuses(&line, second->statuses);
    put_failures(&line, second);
    put(&line, "}\n");
    return writer.err;
}

/* A tree as a line. */
static int write_tree(json_t *tree_take, struct ps_buf *out)
{
    char *text = tree_take == NULL ? NULL : json_dumps(tree_take, JSON_COMPACT | JSON_REAL_PRECISION(15));
    int err = text == NULL ? PS_ENOMEM : ps_buf_append_str(out, ps_str_from(text));
    free(text);
    json_decref(tree_take);
    return err == PS_OK ? ps_buf_append_str(out, PS_STR("\n")) : err;
}

int ps_journal_write_point(const struct ps_report_point *point, struct ps_buf *out)
{
    json_t *json = ps_report_point_json(point);
    return write_tree(json == NULL ? NULL : json_pack("{s:o}", "point", json), out);
}

static void put_pairs(struct ps_report_out *out, const char *name, const struct ps_report_pair *pairs,
                      size_t count)
{
    struct ps_report_out object = ps_report_out_begin();
    for (size_t i = 0; i < count && i < PS_JOURNAL_PAIRS; i++) {
        ps_report_out_text(&object, pairs[i].name, pairs[i].value);
    }
    ps_report_out_end(out, name, &object);
}

int ps_journal_write_test(const struct ps_report_section *test, struct ps_buf *out)
{
    char url[512];
    struct ps_report_out head = ps_report_out_begin();
    ps_report_out_count(&head, "penstock_journal", PS_JOURNAL_VERSION);
    ps_report_out_text(&head, "test", ps_report_word(test->kind));
    ps_report_out_text(&head, "target", ps_clean_url(ps_str_from(test->target), url, sizeof url));
    ps_report_out_text(&head, "method", test->method);
    ps_report_out_text(&head, "server", test->server);
    ps_report_out_count(&head, "started_ns", (uint64_t)(test->started > 0 ? test->started : 0));
    ps_report_out_text(&head, "arrivals", test->arrivals);
    ps_report_out_number(&head, "target_rps", test->target_rps, 6);
    ps_report_out_count(&head, "connections", test->connections);
    ps_report_out_count(&head, "threads", test->threads);
    put_pairs(&head, "options", test->options, test->option_count);
    put_pairs(&head, "tags", test->tags, test->tag_count);
    put_pairs(&head, "objectives", test->objectives, test->objective_count);
    if (head.err != PS_OK) {
        json_decref(head.object);
        return head.err;
    }
    return write_tree(head.object, out);
}
