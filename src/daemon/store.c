#include "daemon/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/log.h"
#include "export/rollup.h"
#include "io/loop.h"
#include "operate/gpu.h"
#include "store/ledger.h"

#define PATIENCE (3 * PS_SECOND) /* at the end, for what still waits */

enum { PATH_MOST = 4096 };

/* clang-format off */
const struct ps_option ps_store_options[] = {
    PS_OPTION_ROW(ps_store_opts, path, STRING, "auto",
     "the file (SQLite) that keeps what outlives a restart: cleanups of GPU memory and who asked for them, minutes and hours of history; `off` = none; "
     "`auto` = `$STATE_DIRECTORY/ledger.db`, as under systemd, else `$XDG_STATE_HOME/penstock/ledger.db`, else none",
     .no_reload = true),
    PS_OPTION_ROW(ps_store_opts, retention, SPAN, "90d",
     "how long cleanups are kept; 0 = for ever", .max = 3.1536e17),
    PS_OPTION_ROW(ps_store_opts, max_rows, U64, "100k",
     "most rows of cleanups; the oldest go first; 0 = no bound", .max = 1e9),
    {0},
};
/* clang-format on */

static const struct ps_ledger_room *const rooms[] = {&ps_gpu_ledger_room, &ps_rollup_ledger_room, NULL};

enum { ROW_OPEN, ROW_ENTRIES, ROW_DROPPED, ROW_FAILURES, ROW_WAITING, ROW_SIZE, ROWS };

/* clang-format off */
const struct ps_metric_family ps_store_metric_families[] = {
    [ROW_OPEN] = {.name = "penstock_store_open", .type = PS_METRIC_GAUGE,
     .help = "1: what is to outlive the program is written; 0: it waits, the log says why"},
    [ROW_ENTRIES] = {.name = "penstock_store_entries_total", .type = PS_METRIC_COUNTER,
     .help = "Entries that are on the disk"},
    [ROW_DROPPED] = {.name = "penstock_store_dropped_total", .type = PS_METRIC_COUNTER,
     .help = "Entries that were lost: there was no room while nothing could be written, or the database refused them"},
    [ROW_FAILURES] = {.name = "penstock_store_failures_total", .type = PS_METRIC_COUNTER,
     .help = "Times that the file could not be opened or written"},
    [ROW_WAITING] = {.name = "penstock_store_waiting_entries", .type = PS_METRIC_GAUGE, .unit = "entries",
     .help = "Entries that are not on the disk yet"},
    [ROW_SIZE] = {.name = "penstock_store_size_bytes", .type = PS_METRIC_GAUGE, .unit = "bytes",
     .help = "Size of the file when it was last looked at"},
    {0},
};
/* clang-format on */

struct ps_store {
    struct ps_ledger *ledger; /* NULL = nothing is kept */
    char *path;
    struct ps_metrics *metrics;
    struct ps_metric_handle *handles[ROWS];
};

/* --- where ------------------------------------------------------------------------------------ */

static bool is_word(const char *path, const char *word)
{
    return strcmp(path, word) == 0;
}

/* systemd may name several folders, with colons between them. */
static char *standard_path(void)
{
    char text[PATH_MOST];
    const char *state = getenv("STATE_DIRECTORY");
    const char *home = getenv("XDG_STATE_HOME");
    int len = 0;
    if (state != NULL && state[0] == '/') {
        len = snprintf(text, sizeof text, "%.*s/ledger.db", (int)strcspn(state, ":"), state);
    } else if (home != NULL && home[0] == '/') {
        len = snprintf(text, sizeof text, "%s/penstock/ledger.db", home);
    }
    return len > 0 && (size_t)len < sizeof text ? strdup(text) : NULL;
}

char *ps_store_path(const struct ps_store_opts *opts, bool *standard)
{
    const char *path = opts->path == NULL ? "" : opts->path;
    bool is_auto = is_word(path, "auto");
    if (standard != NULL) {
        *standard = is_auto;
    }
    if (path[0] == '\0' || is_word(path, "off")) {
        return NULL;
    }
    return is_auto ? standard_path() : strdup(path);
}

/* The two folders that a standard place may lack; what goes wrong shows when the file is opened. */
static void make_folders(const char *path)
{
    char folder[PATH_MOST];
    snprintf(folder, sizeof folder, "%s", path);
    char *last = strrchr(folder, '/');
    *last = '\0';
    char *above = strrchr(folder, '/');
    if (above != NULL && above != folder) {
        *above = '\0';
        mkdir(folder, 0700);
        *above = '/';
    }
    mkdir(folder, 0700);
}

/* --- what is said ----------------------------------------------------------------------------- */

static void on_state(void *ctx, enum ps_ledger_state state, const char *why)
{
    const struct ps_store *store = ctx;
    if (state == PS_LEDGER_OPEN) {
        ps_log(PS_LOG_INFO, "the store is open", "file", store->path, NULL);
    } else {
        ps_log(PS_LOG_WARN,
               "the store can't be used; it is tried again, and nothing else waits for it",
               "reason", why, NULL);
    }
}

static void on_lost(void *ctx)
{
    const struct ps_store *store = ctx;
    ps_log(PS_LOG_WARN, "the store has no room: entries are lost", "file", store->path, NULL);
}

/* --- figures ---------------------------------------------------------------------------------- */

static struct ps_ledger_stats look(void *context)
{
    struct ps_ledger_stats stats;
    ps_ledger_stats(((struct ps_store *)context)->ledger, &stats);
    return stats;
}

static double read_open(void *context)
{
    enum ps_ledger_state state = look(context).state;
    return state == PS_LEDGER_OPENING ? NAN : state == PS_LEDGER_OPEN;
}

static double read_entries(void *context)
{
    return (double)look(context).written;
}

static double read_dropped(void *context)
{
    struct ps_ledger_stats stats = look(context);
    return (double)(stats.dropped + stats.refused);
}

static double read_failures(void *context)
{
    return (double)look(context).failures;
}

static double read_waiting(void *context)
{
    return (double)look(context).waiting;
}

static double read_size(void *context)
{
    uint64_t bytes = look(context).bytes;
    return bytes == 0 ? NAN : (double)bytes;
}

static int publish(struct ps_store *store)
{
    static ps_metric_read *const reads[ROWS] = {read_open,     read_entries, read_dropped,
                                                read_failures, read_waiting, read_size};
    const char *bad = NULL;
    int err = ps_metrics_declare(store->metrics, ps_store_metric_families, &bad);
    PS_CHECK(bad == NULL);
    for (size_t i = 0; i < ROWS && err == PS_OK; i++) {
        err = ps_metric_watch(store->metrics, &ps_store_metric_families[i], NULL, reads[i], store,
                              &store->handles[i]);
    }
    return err;
}

/* --- life ------------------------------------------------------------------------------------- */

static int open_ledger(struct ps_store *store, struct ps_loop *loop)
{
    const struct ps_ledger_opts opts = {.path = store->path,
                                        .rooms = rooms,
                                        .clock = ps_loop_clock(loop),
                                        .on_state = on_state,
                                        .on_lost = on_lost,
                                        .ctx = store};
    int err = ps_ledger_new(&store->ledger, &opts, loop);
    return err != PS_OK ? err : publish(store);
}

int ps_store_new(struct ps_store **out, const struct ps_store_opts *opts, struct ps_loop *loop,
                 struct ps_metrics *metrics)
{
    bool standard;
    struct ps_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return PS_ENOMEM;
    }
    store->metrics = metrics;
    store->path = ps_store_path(opts, &standard);
    if (store->path == NULL) {
        ps_log(PS_LOG_INFO, "nothing is kept over a restart: store.path names no file", NULL);
        *out = store;
        return PS_OK;
    }
    if (standard) {
        make_folders(store->path);
    }
    int err = open_ledger(store, loop);
    if (err != PS_OK) {
        ps_store_free(store);
        return err;
    }
    ps_store_set(store, opts);
    *out = store;
    return PS_OK;
}

void ps_store_free(struct ps_store *store)
{
    if (store == NULL) {
        return;
    }
    for (size_t i = 0; i < ROWS; i++) {
        if (store->handles[i] != NULL) {
            ps_metric_unwatch(store->metrics, store->handles[i], store);
        }
    }
    ps_ledger_free(store->ledger, PATIENCE);
    free(store->path);
    free(store);
}

void ps_store_set(struct ps_store *store, const struct ps_store_opts *opts)
{
    if (store->ledger != NULL) {
        ps_ledger_keep(store->ledger, opts->retention, opts->max_rows);
    }
}

struct ps_ledger *ps_store_ledger(struct ps_store *store)
{
    return store->ledger;
}
