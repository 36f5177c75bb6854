#include "daemon/panel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/live.h"
#include "export/board.h"
#include "export/frame.h"
#include "io/loop.h"
#include "observe/event.h"
#include "operate/query.h"

enum { EVENTS = 200, NAMES = 200, NAMES_TEXT = 16 * 1024 };

#define SUMMARY_LIMIT ((size_t)16 * 1024 * 1024)

struct ps_panel {
    struct ps_events *events;
    struct ps_loop *loop;
    struct ps_board *board;
    struct ps_frame *frame;
    struct ps_live *live;
    bool began; /* there was a second */
    struct ps_buf summary; /* of this second, of everything; empty = not asked for yet */
};

static void on_log(void *ctx, enum ps_log_level level, const char *event,
                   const struct ps_log_pair *pairs, size_t count)
{
    ps_events_add(ctx, ps_clock_wall(&ps_clock_real), level, event, pairs, count);
}

int ps_panel_new(struct ps_panel **out)
{
    struct ps_panel *panel = calloc(1, sizeof *panel);
    if (panel == NULL) {
        return PS_ENOMEM;
    }
    panel->summary = ps_buf_make(SUMMARY_LIMIT);
    int err = ps_events_new(&panel->events, EVENTS);
    if (err != PS_OK) {
        ps_panel_free(panel);
        return err;
    }
    ps_log_set_tap(on_log, panel->events);
    *out = panel;
    return PS_OK;
}

void ps_panel_free(struct ps_panel *panel)
{
    if (panel == NULL) {
        return;
    }
    ps_log_set_tap(NULL, NULL);
    ps_frame_free(panel->frame);
    ps_board_free(panel->board);
    ps_events_free(panel->events);
    ps_buf_fini(&panel->summary);
    free(panel);
}

int ps_panel_start(struct ps_panel *panel, struct ps_loop *loop, struct ps_metrics *metrics,
                   struct ps_history *history)
{
    struct ps_frame_opts opts = {.history = history, .events = panel->events, .board = true};
    panel->loop = loop;
    int err = ps_board_new(&panel->board, metrics, history);
    err = err != PS_OK ? err : ps_frame_new(&panel->frame, &opts);
    return err != PS_OK ? err : ps_board_begin(panel->board, ps_loop_now(loop));
}

void ps_panel_set_live(struct ps_panel *panel, struct ps_live *live)
{
    panel->live = live;
}

/* Without memory something lacks in this second; the next one is another. */
void ps_panel_second(void *ctx, int64_t second)
{
    struct ps_panel *panel = ctx;
    const char *const *keys;
    PS_IGNORE(ps_board_second(panel->board, ps_loop_now(panel->loop)));
    size_t count = ps_board_keys(panel->board, &keys);
    PS_IGNORE(ps_frame_second(panel->frame, (double)second, keys, count));
    panel->began = true;
    ps_buf_clear(&panel->summary);
    if (panel->live != NULL) {
        ps_live_second(panel->live);
    }
}

int ps_panel_encode(void *ctx, const char *const *keys, size_t count, bool first,
                    struct ps_buf *out)
{
    struct ps_panel *panel = ctx;
    if (!panel->began) {
        return PS_EBUSY; /* there is nothing to tell: it is asked for again with the first second */
    }
    return ps_frame_write(panel->frame, keys, count, first, out);
}

/* --- the summary ------------------------------------------------------------------------------ */

static size_t subscribers(const struct ps_panel *panel)
{
    return panel->live == NULL ? 0 : ps_live_subscribers(panel->live);
}

/* Made once a second, however often it is asked for. */
static int write_all(struct ps_panel *panel, struct ps_buf *out)
{
    int err = PS_OK;
    if (panel->summary.len == 0) {
        err = ps_frame_write_summary(panel->frame, NULL, 0, subscribers(panel), &panel->summary);
    }
    return err != PS_OK ? err : ps_buf_append_str(out, ps_buf_str(&panel->summary));
}

/* Commas between braces belong to the key; braces between quotes do not count. PS_ELIMIT: too many.
 */
static int split_names(char *text, const char *names[NAMES], size_t *count)
{
    bool quoted = false;
    bool braced = false;
    names[0] = text;
    *count = 1;
    for (; *text != '\0'; text++) {
        if (*text == '\\' && quoted && text[1] != '\0') {
            text++;
        } else if (*text == '"') {
            quoted = !quoted;
        } else if (!quoted && (*text == '{' || *text == '}')) {
            braced = *text == '{';
        } else if (*text == ',' && !quoted && !braced) {
            if (*count == NAMES) {
                return PS_ELIMIT;
            }
            *text = '\0';
            names[(*count)++] = text + 1;
        }
    }
    return PS_OK;
}

int ps_panel_write_summary(struct ps_panel *panel, struct ps_str query, struct ps_buf *out,
                           char *reason, size_t size)
{
    const char *names[NAMES];
    size_t count = 0;
    char *text = NULL;
    int err = PS_ENOTFOUND;
    if (query.len > 0) {
        text = malloc(NAMES_TEXT);
        err = text == NULL ? PS_ENOMEM
                           : ps_query_value(query, PS_STR("names"), text, NAMES_TEXT);
        err = err != PS_OK ? err : split_names(text, names, &count);
    }
    if (err == PS_OK) {
        err = ps_frame_write_summary(panel->frame, names, count, subscribers(panel), out);
    } else if (err == PS_ENOTFOUND) {
        err = write_all(panel, out);
    } else if (err != PS_ENOMEM) {
        snprintf(reason, size, "names is a list of at most %d keys, separated by commas", NAMES);
        err = PS_EINVAL;
    }
    free(text);
    return err;
}
