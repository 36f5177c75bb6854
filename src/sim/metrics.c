#include "sim/metrics.h"

static const double seconds_bounds[] = {0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                        1.0,   2.5,  5.0,  7.5,  10,   20,   40,  80,   160, 0};
static const double gap_bounds[] = {0.001, 0.0025, 0.005, 0.01,  0.015, 0.02, 0.025,
                                    0.03,  0.04,   0.05,  0.075, 0.1,   0.15, 0.2,
                                    0.3,   0.4,    0.5,   0.75,  1.0,   0};
static const double tokens_bounds[] = {1,    2,    5,    10,    20,    50,    100,    200, 500,
                                       1000, 2000, 5000, 10000, 20000, 50000, 100000, 0};

void ps_sim_metrics_init(struct ps_sim_metrics *metrics)
{
    *metrics = (struct ps_sim_metrics){
        .first_token.bounds = seconds_bounds,
        .inter_token.bounds = gap_bounds,
        .end_to_end.bounds = seconds_bounds,
        .queue.bounds = seconds_bounds,
        .compute.bounds = seconds_bounds,
        .prompt_tokens.bounds = tokens_bounds,
        .generation_tokens.bounds = tokens_bounds,
    };
}

void ps_sim_metrics_add(struct ps_sim_metrics *metrics, const struct ps_sim_seq *seq, bool stopped,
                        ps_time now)
{
    ps_sim_tally_add(&metrics->end_to_end, ps_span_seconds(now - seq->arrived));
    ps_sim_tally_add(&metrics->queue, ps_span_seconds(seq->started - seq->arrived));
    ps_sim_tally_add(&metrics->compute, ps_span_seconds(now - seq->started));
    ps_sim_tally_add(&metrics->prompt_tokens, (double)seq->prompt_tokens);
    ps_sim_tally_add(&metrics->generation_tokens, (double)seq->generated);
    if (stopped) {
        metrics->stopped++;
    } else {
        metrics->length++;
    }
}
