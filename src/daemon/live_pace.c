#include "daemon/live_pace.h"

#include <stdint.h>

enum {
    AT_ONCE = 256,     /* subscribers: up to here they are a few milliseconds in all */
    TURN = 4,          /* frames */
    TURNS_MOST = 5000, /* of one frame; whoever has more than 20,000 subscribers has longer turns */
};

static const ps_span spread = 500 * PS_MILLISECOND;
static const ps_span breath =
    50 * PS_MICROSECOND; /* between two turns, for whoever waits for the core */

struct ps_live_pace ps_live_pace_begin(ps_time now, size_t all)
{
    return (struct ps_live_pace){.since = now, .all = all};
}

size_t ps_live_pace_most(const struct ps_live_pace *pace)
{
    if (pace->all <= AT_ONCE) {
        return SIZE_MAX;
    }
    size_t turn = pace->all / TURNS_MOST;
    return turn > TURN ? turn : TURN;
}

ps_time ps_live_pace_next(const struct ps_live_pace *pace, ps_time now)
{
    ps_time due = pace->since + (ps_span)((double)spread * (double)pace->sent /
                                          (double)(pace->all > 0 ? pace->all : 1));
    return due > now + breath ? due : now + breath;
}
