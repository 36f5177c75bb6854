#include "sim/page.h"

#include <inttypes.h>
#include <stdio.h>

#include "sim/usage.h"

void ps_sim_page_head(struct ps_sim_page *page, const char *name, const char *type,
                      const char *help)
{
    if (page->err == PS_OK) {
        page->err =
            ps_buf_printf(page->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
    }
}

/* labels: more of them, each followed by a comma, or "". */
void ps_sim_page_value(struct ps_sim_page *page, const char *name, const char *labels,
                       double number)
{
    if (page->err == PS_OK) {
        page->err = ps_buf_printf(page->out, "%s{%s%ssimulated=\"true\"} %.15g\n", name, labels,
                                  page->labels, number);
    }
}

void ps_sim_page_single(struct ps_sim_page *page, const char *name, const char *type,
                        const char *help, double number)
{
    ps_sim_page_head(page, name, type, help);
    ps_sim_page_value(page, name, "", number);
}

static void bucket(struct ps_sim_page *page, const char *name, const char *bound, uint64_t count)
{
    char label[80];
    char full[120];
    (void)snprintf(label, sizeof label, "le=\"%s\",", bound);
    (void)snprintf(full, sizeof full, "%s_bucket", name);
    ps_sim_page_value(page, full, label, (double)count);
}

void ps_sim_page_histogram(struct ps_sim_page *page, const char *name, const char *help,
                           const struct ps_sim_tally *tally)
{
    char text[64];
    uint64_t below = 0;
    ps_sim_page_head(page, name, "histogram", help);
    for (size_t i = 0; tally->bounds[i] != 0; i++) {
        below += tally->counts[i];
        (void)snprintf(text, sizeof text, "%g", tally->bounds[i]);
        bucket(page, name, text, below);
    }
    bucket(page, name, "+Inf", tally->count);
    (void)snprintf(text, sizeof text, "%s_sum", name);
    ps_sim_page_value(page, text, "", tally->sum);
    (void)snprintf(text, sizeof text, "%s_count", name);
    ps_sim_page_value(page, text, "", (double)tally->count);
}

double ps_sim_page_cache_usage(const struct ps_sim_desk *desk)
{
    const struct ps_sim_blocks *blocks = ps_sim_engine_blocks(desk->engine);
    double count = ps_sim_blocks_count(blocks);
    return (count - ps_sim_blocks_idle(blocks)) / count;
}

static void write_device(struct ps_sim_page *page, const struct ps_sim_desk *desk)
{
    const struct ps_sim_device *device = ps_sim_engine_device(desk->engine);
    struct ps_sim_usage usage = ps_sim_device_usage(device);
    ps_sim_page_head(page, "penstock_sim_device_bytes", "gauge",
                     "Memory of the simulated device by kind.");
    for (size_t i = 0; i < PS_SIM_USAGE_KINDS; i++) {
        char label[40];
        (void)snprintf(label, sizeof label, "kind=\"%s\",", ps_sim_usage_name(i));
        ps_sim_page_value(page, "penstock_sim_device_bytes", label,
                          (double)ps_sim_usage_bytes(&usage, i));
    }
    ps_sim_page_single(page, "penstock_sim_device_total_bytes", "gauge",
                       "Memory of the simulated device.", (double)device->memory);
    ps_sim_page_single(page, "penstock_sim_out_of_memory_total", "counter",
                       "Allocations that failed.", (double)device->out_of_memory);
    ps_sim_page_single(page, "penstock_sim_allocation_retries_total", "counter",
                       "Allocations that had to give unused segments back first.",
                       (double)device->retries);
}

void ps_sim_page_own(struct ps_sim_page *page, const struct ps_sim_desk *desk)
{
    const struct ps_sim_stats *stats = ps_sim_engine_stats(desk->engine);
    ps_sim_page_single(page, "penstock_simulated", "gauge",
                       "1: nothing here was measured on a GPU.", 1);
    write_device(page, desk);
    ps_sim_page_single(page, "penstock_sim_steps_total", "counter", "Steps of the engine.",
                       (double)stats->steps);
    ps_sim_page_single(page, "penstock_sim_computed_prompt_tokens_total", "counter",
                       "Prompt tokens computed, not found in the cache; recomputed ones again.",
                       (double)stats->computed_prompt_tokens);
    ps_sim_page_single(page, "penstock_sim_canceled_total", "counter",
                       "Sequences whose client went away.", (double)stats->canceled);
    ps_sim_page_single(page, "penstock_sim_images_total", "counter", "Image jobs finished.",
                       (double)stats->images);
    ps_sim_page_single(page, "penstock_sim_refused_total", "counter", "Requests answered with 4xx.",
                       (double)desk->metrics.refused);
    ps_sim_page_single(page, "penstock_sim_failed_total", "counter", "Requests answered with 5xx.",
                       (double)desk->metrics.failed);
}
