/* demo_view - see demo_view.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli/demo_view.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

#define VIEW_MAX 8192
#define WINDOW (10 * PS_SECOND)
#define BAR 10

/* The text only ever grows by pieces of bounded size, far below VIEW_MAX. */
static void say(struct ps_buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct ps_buf *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int err = ps_buf_vprintf(out, format, args);
    va_end(args);
    if (err != PS_OK) {
        out->limit = out->len; /* what is there is shown, nothing is added */
    }
}

void ps_demo_view_add(struct ps_demo_lane *lane, const struct ps_session_result *result)
{
    if (result->failure == PS_FAILURE_NONE) {
        ps_window_record(&lane->latency, result->end - result->intended);
    }
    if (result->texts > 0) {
        ps_window_record(&lane->ttft, result->first_text - result->intended);
    }
}

/* -------------------------------------------------------------------------------------- parts */

static void say_span(struct ps_buf *out, const char *name, const struct ps_hist *hist)
{
    char middle[24];
    char high[24];
    if (hist->count > 0) {
        say(out, "  %s p50 %s p95 %s", name,
            ps_tally_span_text(ps_hist_percentile(hist, 0.5), middle, sizeof middle),
            ps_tally_span_text(ps_hist_percentile(hist, 0.95), high, sizeof high));
    }
}

static void say_lane(struct ps_buf *out, struct ps_demo_lane *lane, double seconds, ps_time now)
{
    if (lane->generator == NULL) {
        return;
    }
    const struct ps_tally *tally = ps_generator_tally(lane->generator);
    double sent = (double)(tally->sent - lane->sent_before);
    double texts = (double)(tally->texts - lane->texts_before);
    say(out, "%-11s %5.1f/s  in flight %-3zu ok %-6llu failed %llu", lane->name,
        seconds > 0 ? sent / seconds : 0, ps_generator_in_flight(lane->generator),
        (unsigned long long)tally->succeeded, (unsigned long long)tally->failed);
    if (tally->texts > 0) {
        say(out, "  %.0f tokens/s", seconds > 0 ? texts / seconds : 0);
    }
    say_span(out, "first token", ps_window_look(&lane->ttft, now, WINDOW));
    say_span(out, "latency", ps_window_look(&lane->latency, now, WINDOW));
    say(out, "%s\n", ps_tally_is_limited(tally) ? "  generator_limited" : "");
    lane->sent_before = tally->sent;
    lane->texts_before = tally->texts;
}

static void say_bar(struct ps_buf *out, const char *name, double share)
{
    char bar[BAR + 1];
    size_t full = (size_t)lround(fmin(fmax(share, 0), 1) * BAR);
    memset(bar, '.', BAR);
    memset(bar, '#', full);
    bar[BAR] = '\0';
    say(out, "  %s %5.1f %% [%s]", name, share * 100, bar);
}

static void say_count(struct ps_buf *out, const char *name, double value)
{
    if (!isnan(value)) {
        say(out, "  %s %.0f", name, value);
    }
}

/* How many requests the gateways gave to this server, by their own metrics; NAN when they say none. */
static double picks(const struct ps_demo_view *view, const struct ps_demo_server *server)
{
    const char *port = strrchr(server->url, ':');
    double sum = NAN;
    for (size_t i = 0; i < view->gateway_count; i++) {
        double given = ps_probe_sum(ps_probe_body(view->gateways[i].metrics),
                                    "penstock_backend_requests_total",
                                    port == NULL ? server->url : port + 1);
        sum = isnan(sum) ? given : isnan(given) ? sum : sum + given;
    }
    return sum;
}

/* A number of the server's state; NAN when it says none. */
static double number(const json_t *state, const char *object, const char *name)
{
    const json_t *value = json_object_get(json_object_get(state, object), name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* As the gateway has it; what it can't measure, the server says of itself. */
static void say_gauge(struct ps_buf *out, const struct ps_demo_gauge *gauge, const json_t *state)
{
    double used = number(state, "blocks", "used");
    double total = number(state, "blocks", "total");
    if (gauge->known) {
        say_bar(out, gauge->cache ? "KV cache" : "memory  ", gauge->percent / 100);
        say(out, " %s", gauge->level);
    } else if (used >= 0 && total > 0) {
        say_bar(out, "KV cache", used / total);
    }
    if (gauge->known && gauge->until >= 0) {
        say(out, "  full in %.0f s", gauge->until);
    }
}

static void say_server(struct ps_buf *out, const struct ps_demo_view *view,
                       const struct ps_demo_server *server, size_t number_of)
{
    struct ps_str page = ps_probe_body(server->state);
    json_t *state = page.len == 0 ? NULL : json_loadb(page.ptr, page.len, 0, NULL);
    bool shared = number_of - 1 == PS_DEMO_SHARED;
    say(out, "GPU %zu (sim)", number_of);
    say_gauge(out, &view->story.gauges[number_of - 1], state);
    if (view->engine->protocol == PS_PROTOCOL_COMFYUI && !shared) {
        say_count(out, "jobs", number(state, "sequences", "images"));
    } else {
        say_count(out, "running", number(state, "sequences", "running"));
        say_count(out, "waiting", number(state, "sequences", "waiting"));
    }
    say_count(out, "given", picks(view, server));
    say(out, "  %s\n", server->url);
    json_decref(state);
}

static void say_gateway(struct ps_buf *out, const struct ps_demo_view *view, size_t which)
{
    struct ps_str page = ps_probe_body(view->gateways[which].metrics);
    double requests = ps_probe_sum(page, "penstock_traffic_requests_total", "");
    if (isnan(requests)) {
        return;
    }
    if (view->gateway_count == 1) {
        say(out, "gateway    %.0f requests", requests);
    } else {
        say(out, "gateway %zu  %.0f requests", which + 1, requests);
    }
    say_count(out, "in flight", ps_probe_sum(page, "penstock_admit_in_flight", ""));
    say_count(out, "queued", ps_probe_sum(page, "penstock_admit_queued", ""));
    say_count(out, "refused", ps_probe_sum(page, "penstock_admit_refused_total", ""));
    say_count(out, "retries", ps_probe_sum(page, "penstock_traffic_retries_total", ""));
    say(out, view->gateway_count == 1 ? "\n" : "  %s\n", view->gateways[which].url);
}

/* -------------------------------------------------------------------------------------- cache */

/* What the gateways say of their caches, added up. */
struct caches {
    double lookups;
    double hits; /* and stale answers */
    double memory;
    double redis;
    double coalesced;
    double saved;
    bool shared; /* there is a second tier */
};

static double or_zero(double value)
{
    return isnan(value) ? 0 : value;
}

static void add_caches(struct caches *sum, struct ps_str page)
{
    json_t *stats = page.len == 0 ? NULL : json_loadb(page.ptr, page.len, 0, NULL);
    const json_t *rate = json_object_get(stats, "hit_rate_percent");
    const json_t *lookups = json_object_get(stats, "lookups");
    sum->lookups += json_number_value(lookups);
    sum->hits += json_number_value(lookups) * json_number_value(rate) / 100;
    sum->memory += or_zero(number(stats, "l1", "hits"));
    sum->redis += or_zero(number(stats, "l2", "hits"));
    sum->coalesced += json_number_value(json_object_get(stats, "coalesced"));
    sum->saved += json_number_value(json_object_get(stats, "gpu_seconds_saved"));
    sum->shared = sum->shared || json_object_get(stats, "l2") != NULL;
    json_decref(stats);
}

/* Nothing is said before something was looked up: what an engine is asked for may never be. */
static void say_cache(struct ps_buf *out, const struct ps_demo_view *view)
{
    struct caches sum = {0};
    for (size_t i = 0; i < view->gateway_count; i++) {
        add_caches(&sum, ps_probe_body(view->gateways[i].cache));
    }
    if (sum.lookups == 0) {
        return;
    }
    say(out, "cache      %.1f %% of %.0f answers  from memory %.0f", 100 * sum.hits / sum.lookups,
        sum.lookups, sum.memory);
    if (sum.shared) {
        say(out, "  from Redis %.0f", sum.redis);
    }
    say(out, "  coalesced %.0f  GPU-seconds saved %.2f\n", sum.coalesced, sum.saved);
}

/* The cluster as the first gateway sees it: masters, and keys where it knows them. */
static void say_cluster(struct ps_buf *out, const struct ps_demo_view *view)
{
    struct ps_str page = ps_probe_body(view->gateways[0].cache);
    json_t *stats = page.len == 0 ? NULL : json_loadb(page.ptr, page.len, 0, NULL);
    const json_t *nodes = json_object_get(stats, "node_distribution");
    size_t up = 0;
    size_t index;
    const json_t *node;
    double keys = 0;
    json_array_foreach(nodes, index, node)
    {
        const char *state = json_string_value(json_object_get(node, "state"));
        up += state != NULL && strcmp(state, "up") == 0 ? 1 : 0;
        keys += json_number_value(json_object_get(node, "keys"));
    }
    if (json_array_size(nodes) > 0) {
        say(out, "Redis      %zu of %zu masters up  keys %.0f", up, json_array_size(nodes), keys);
        double p50 = number(json_object_get(stats, "l2"), "latency_ms", "p50");
        if (!isnan(p50)) {
            say(out, "  answers p50 %.2f ms", p50);
        }
        say(out, "\n");
    }
    json_decref(stats);
}

struct clock {
    char text[24];
};

/* How far the traces were played at that time: minutes and seconds. */
static struct clock clock_text(const struct ps_demo_view *view, ps_time at)
{
    struct clock clock;
    long played = (long)(ps_span_seconds(at - view->began) * view->speed);
    snprintf(clock.text, sizeof clock.text, "%ld:%02ld", played / 60, played % 60);
    return clock;
}

static void say_title(struct ps_buf *out, const struct ps_demo_view *view, ps_time now)
{
    const struct clock clock = clock_text(view, now);
    if (view->screen.terminal) {
        say(out, "\nPenstock demo   open %s   ", view->gateways[0].url);
    }
    say(out, "traces %s %s", view->over ? "ended; at" : "at", clock.text);
    if (view->speed != 1) {
        say(out, " (%g times as fast)", view->speed);
    }
    say(out, "\n");
}

/* The last so many events, below a heading that says whose they are. */
static void say_last(struct ps_buf *out, const struct ps_demo_view *view, uint64_t count)
{
    const struct ps_demo_story *story = &view->story;
    for (uint64_t n = story->count - count; n < story->count; n++) {
        const struct ps_demo_event *event = ps_demo_story_event(story, n);
        if (n + count == story->count) {
            say(out, "\nGPU memory%s\n", event->simulated ? " (simulated)" : "");
        }
        say(out, "%5s  GPU %u  %s\n", clock_text(view, event->at).text, event->server + 1,
            event->text);
    }
}

/* As many of the latest as there is room for. */
static void show_events(struct ps_buf *out, struct ps_demo_view *view)
{
    uint64_t count = view->story.count < PS_DEMO_EVENTS ? view->story.count : PS_DEMO_EVENTS;
    size_t len = out->len;
    say_last(out, view, count);
    while (count > 0 && !ps_screen_fits(&view->screen, ps_buf_str(out))) {
        out->len = len;
        say_last(out, view, --count);
    }
}

/* Those that are new, each with all that there is to know of whose it is. */
static void print_events(struct ps_buf *out, struct ps_demo_view *view)
{
    const struct ps_demo_event *event;
    for (; view->told < view->story.count; view->told++) {
        event = ps_demo_story_event(&view->story, view->told);
        if (event != NULL) {
            say(out, "%s  GPU %u%s  %s\n", clock_text(view, event->at).text, event->server + 1,
                event->simulated ? " (simulated)" : "", event->text);
        }
    }
}

void ps_demo_view_draw(struct ps_demo_view *view, ps_time now)
{
    struct ps_buf out = ps_buf_make(VIEW_MAX);
    double seconds = ps_span_seconds(now - view->drawn);
    say_title(&out, view, now);
    for (size_t i = 0; i < PS_DEMO_LANES; i++) {
        say_lane(&out, &view->lanes[i], seconds, now);
    }
    for (size_t i = 0; i < PS_DEMO_SERVERS; i++) {
        say_server(&out, view, &view->servers[i], i + 1);
    }
    for (size_t i = 0; i < view->gateway_count; i++) {
        say_gateway(&out, view, i);
    }
    say_cache(&out, view);
    say_cluster(&out, view);
    if (view->screen.terminal) {
        show_events(&out, view);
    } else {
        print_events(&out, view);
    }
    view->drawn = now;
    ps_screen_draw(&view->screen, ps_buf_str(&out));
    ps_buf_fini(&out);
}
