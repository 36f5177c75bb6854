#include "operate/throttle.h"

#include <math.h>

#define MOST_SHARE  0.9 /* last blocks are filled in part, and estimates are off a little */
#define LEAST_SHARE 0.2
#define PATIENCE    (2 * PS_SECOND) /* until a cut shows */
#define FORGET      PS_MINUTE
#define WELL_BELOW  5.0 /* percent */

const char *const ps_throttle_mode_names[] = {"fixed", "auto", NULL};

void ps_throttle_init(struct ps_throttle *throttle, ps_time now)
{
    *throttle = (struct ps_throttle){
        .share = MOST_SHARE, .cut_at = now - PATIENCE, .grew_at = now, .needed_at = now};
}

static bool may_cut(const struct ps_throttle *throttle, ps_time now)
{
    return now - throttle->cut_at >= PATIENCE;
}

/* --- tokens ----------------------------------------------------------------------------------- */

/* Figures are a moment old: what has just ended here looks like somebody else's. So more of it is
 * believed slowly and less at once. */
static void watch_others(struct ps_throttle *throttle, const struct ps_throttle_sample *sample)
{
    double seen = fmax(0, sample->held.value - (double)sample->in_flight_tokens);
    bool more = sample->held.known && seen > throttle->others;
    throttle->others = more ? throttle->others + (seen - throttle->others) / 16 : seen;
}

static void move_share(struct ps_throttle *throttle, ps_time now, bool event)
{
    if (event && may_cut(throttle, now)) {
        throttle->share = fmax(LEAST_SHARE, throttle->share * 0.8);
        throttle->cut_at = throttle->grew_at = now;
    } else if (now - throttle->grew_at >= PATIENCE) {
        throttle->share = fmin(MOST_SHARE, throttle->share + 0.01);
        throttle->grew_at = now;
    }
}

static struct ps_throttle_bound bound_tokens(struct ps_throttle *throttle, ps_time now,
                                             const struct ps_throttle_sample *sample)
{
    watch_others(throttle, sample);
    move_share(throttle, now, sample->event);
    double tokens = sample->capacity.value * throttle->share - throttle->others;
    return (struct ps_throttle_bound){.tokens = tokens < 1 ? 1 : (uint64_t)tokens};
}

/* --- requests --------------------------------------------------------------------------------- */

static void cut(struct ps_throttle *throttle, ps_time now, uint64_t in_flight, double factor)
{
    double from =
        throttle->requests > 0 ? fmin(throttle->requests, (double)in_flight) : (double)in_flight;
    throttle->requests = fmax(1, floor(from * factor));
    throttle->cut_at = throttle->grew_at = now;
}

static void grow(struct ps_throttle *throttle, ps_time now)
{
    if (throttle->requests > 0 && now - throttle->grew_at >= PS_SECOND) {
        throttle->requests += fmax(1, throttle->requests / 20);
        throttle->grew_at = now;
    }
}

static struct ps_throttle_bound bound_requests(struct ps_throttle *throttle, ps_time now,
                                               const struct ps_throttle_sample *sample)
{
    double percent = sample->effective.known ? sample->effective.value : 0;
    bool over = percent > sample->target_percent;
    bool waits = sample->queued > 0;
    throttle->needed_at = over || waits || sample->event ? now : throttle->needed_at;
    if (sample->event && may_cut(throttle, now)) {
        cut(throttle, now, sample->in_flight, 0.5);
    } else if (over && may_cut(throttle, now)) {
        cut(throttle, now, sample->in_flight, 0.9);
    } else if (waits && percent < sample->target_percent - WELL_BELOW) {
        grow(throttle, now);
    }
    if (now - throttle->needed_at >= FORGET) {
        throttle->requests = 0;
    }
    return (struct ps_throttle_bound){.requests = (uint64_t)throttle->requests};
}

struct ps_throttle_bound ps_throttle_push(struct ps_throttle *throttle, ps_time now,
                                          const struct ps_throttle_sample *sample)
{
    return sample->capacity.known ? bound_tokens(throttle, now, sample)
                                  : bound_requests(throttle, now, sample);
}
