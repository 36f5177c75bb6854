#include "gateway/redis_link.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/rng.h"
#include "gateway/redis_hub.h"
#include "gateway/redis_reply.h"
#include "gateway/redis_wire.h"
#include "io/loop.h"

enum { PARTS = 16 /* commands that one write takes */ };

#define WORKED PS_SECOND /* a wire that ends after this long is opened again without a probe */

static const struct ps_str asking = PS_STR_INIT("*1\r\n$6\r\nASKING\r\n");

/* The reply to ASKING, which nobody waits for, has a place of its own. */
struct asking_place {
    struct ps_redis_command command;
};

struct ps_redis_link {
    struct ps_loop *loop;
    struct ps_redis_hub *hub;
    struct ps_redis_node *node;
    const struct ps_redis_link_ops *ops;
    void *ctx;
    struct ps_redis_wire *wire; /* or NULL */
    struct ps_list waiting;
    struct ps_list sent;
    size_t count; /* of both */
    size_t bytes;
    ps_time ready_at;
    bool probing;
    bool dead;
    struct ps_timer timer; /* at or before the next deadline */
    struct ps_task flush;
    struct ps_task judge;
    struct ps_task burial;
    struct ps_rng rng;
};

ps_time ps_redis_instant(const struct ps_loop *loop)
{
    return ps_clock_now(ps_loop_clock(loop));
}

/* --- commands --------------------------------------------------------------------------------- */

static void take_out(struct ps_redis_link *link, struct ps_redis_command *command)
{
    ps_list_remove(&command->link);
    link->count--;
    link->bytes -= command->bytes.len;
}

/* Everything under way is done without a reply. Commands that are put meanwhile are not among it.
 */
static void fail_all(struct ps_redis_link *link, int err)
{
    struct ps_list gone;
    ps_list_init(&gone);
    struct ps_list *lists[] = {&link->sent, &link->waiting};
    for (size_t i = 0; i < PS_ARRAY_LEN(lists); i++) {
        while (!ps_list_is_empty(lists[i])) {
            struct ps_redis_command *command =
                PS_LIST_FIRST(lists[i], struct ps_redis_command, link);
            take_out(link, command);
            ps_list_push(&gone, &command->link);
        }
    }
    while (!ps_list_is_empty(&gone)) {
        struct ps_redis_command *command = PS_LIST_FIRST(&gone, struct ps_redis_command, link);
        ps_list_remove(&command->link);
        command->on_done(command, NULL, err);
    }
}

static void on_asking_done(struct ps_redis_command *command, const struct ps_redis_reply *reply,
                           int err)
{
    (void)reply;
    (void)err;
    free(PS_CONTAINER_OF(command, struct asking_place, command));
}

/* --- the breaker ------------------------------------------------------------------------------ */

static void open_wire(struct ps_redis_link *link);

static void drop_wire(struct ps_redis_link *link)
{
    ps_redis_wire_free(link->wire);
    link->wire = NULL;
}

static void tell(struct ps_redis_link *link, bool up, const char *reason)
{
    ps_redis_hub_tell(link->hub, link->node, up, reason);
    link->ops->on_change(link->ctx, link, up);
}

/* The node is of no use: its breaker opens, the wire goes, and whatever waits fails. */
static void give_up(struct ps_redis_link *link, int err, const char *reason)
{
    ps_time now = ps_loop_now(link->loop);
    struct ps_redis_breaker *breaker = &link->node->breaker;
    const struct ps_redis_breaker_opts *opts = &link->hub->opts.breaker;
    bool opened = false;
    if (link->probing) {
        link->probing = false;
        PS_IGNORE(ps_redis_breaker_end_probe(breaker, opts, false, ps_rng_next(&link->rng), now));
    } else {
        opened = ps_redis_breaker_open(breaker, opts, ps_rng_next(&link->rng), now);
    }
    drop_wire(link);
    fail_all(link, err);
    if (opened && !link->dead) {
        tell(link, false, reason);
    }
}

void ps_redis_link_complain(struct ps_redis_link *link, const char *reason)
{
    ps_time now = ps_loop_now(link->loop);
    if (ps_redis_breaker_fail(&link->node->breaker, &link->hub->opts.breaker,
                              ps_rng_next(&link->rng), now)) {
        tell(link, false, reason);
    }
}

void ps_redis_link_probe(struct ps_redis_link *link, ps_time now)
{
    if (!link->probing && ps_redis_breaker_begin_probe(&link->node->breaker, now)) {
        drop_wire(link); /* of before: what it still owes is of no interest */
        fail_all(link, PS_ECANCELED);
        link->probing = true;
        open_wire(link);
    }
}

/* --- deadlines -------------------------------------------------------------------------------- */

static void arm_by(struct ps_redis_link *link, ps_time when)
{
    if (when == PS_NEVER || (ps_heap_holds(&link->timer.node) && link->timer.node.key <= when)) {
        return;
    }
    PS_IGNORE(ps_timer_set(link->loop, &link->timer, when)); /* the heap is full: no deadline */
}

/* Since when the node has owed a reply without sending anything. */
static ps_time silent_since(const struct ps_redis_link *link)
{
    const struct ps_redis_command *first =
        PS_LIST_FIRST(&link->sent, struct ps_redis_command, link);
    ps_time read = ps_redis_wire_last_read(link->wire);
    return first->sent > read ? first->sent : read;
}

/* The deadline of a command; a reply that has begun may take as long as it goes on arriving. */
static ps_time deadline_of(const struct ps_redis_link *link, const struct ps_redis_command *command)
{
    bool first = !ps_list_is_empty(&link->sent) && link->sent.next == &command->link;
    if (command->deadline == PS_NEVER || !first || !ps_redis_wire_is_inside(link->wire)) {
        return command->deadline;
    }
    ps_time going_on = ps_redis_wire_last_read(link->wire) + link->hub->opts.timeout;
    ps_time at_most = command->put + link->hub->opts.breaker.stall;
    going_on = going_on < at_most ? going_on : at_most;
    return going_on > command->deadline ? going_on : command->deadline;
}

/* When its patience with the node ends. */
static ps_time stall_at(const struct ps_redis_link *link)
{
    return ps_list_is_empty(&link->sent) ? PS_NEVER
                                         : silent_since(link) + link->hub->opts.breaker.stall;
}

static ps_time next_deadline(const struct ps_redis_link *link)
{
    ps_time next = stall_at(link);
    const struct ps_list *lists[] = {&link->sent, &link->waiting};
    for (size_t i = 0; i < PS_ARRAY_LEN(lists); i++) {
        PS_LIST_FOREACH (node, lists[i]) {
            const struct ps_redis_command *command =
                PS_CONTAINER_OF(node, struct ps_redis_command, link);
            ps_time deadline = command->late ? PS_NEVER : deadline_of(link, command);
            next = deadline < next ? deadline : next;
        }
    }
    return next;
}

/* Tells the owners of what is overdue; they may put, cancel, but not take out. */
static void find_late(struct ps_redis_link *link, ps_time now)
{
    struct ps_list *lists[] = {&link->sent, &link->waiting};
    for (size_t i = 0; i < PS_ARRAY_LEN(lists); i++) {
        PS_LIST_FOREACH (node, lists[i]) {
            struct ps_redis_command *command = PS_CONTAINER_OF(node, struct ps_redis_command, link);
            if (!command->late && deadline_of(link, command) <= now) {
                command->late = true;
                ps_redis_link_complain(link, "its replies are late");
                command->on_late(command);
            }
        }
    }
}

/* At the end of the turn, when what lay in the socket is read: if the whole program stood still,
 * the node is not to blame. */
static void on_judge(struct ps_task *task)
{
    struct ps_redis_link *link = PS_CONTAINER_OF(task, struct ps_redis_link, judge);
    char reason[64];
    ps_time now = ps_loop_now(link->loop);
    find_late(link, now);
    if (stall_at(link) <= now) {
        snprintf(reason, sizeof reason, "no reply for %lld ms",
                 (long long)((now - silent_since(link)) / PS_MILLISECOND));
        give_up(link, PS_ETIMEOUT, reason);
    } else if (!ps_redis_link_is_usable(link) && !link->probing) {
        give_up(link, PS_ETIMEOUT, ""); /* another thread found it out */
    }
    if (!link->dead) {
        arm_by(link, next_deadline(link));
    }
}

static void on_time(struct ps_timer *timer, ps_time now)
{
    struct ps_redis_link *link = PS_CONTAINER_OF(timer, struct ps_redis_link, timer);
    (void)now;
    ps_loop_defer(link->loop, &link->judge);
}

/* --- sending ---------------------------------------------------------------------------------- */

/* A place for the reply to ASKING, before the command's. */
static int put_asking(struct ps_redis_link *link, struct ps_redis_command *before)
{
    struct asking_place *place = calloc(1, sizeof *place);
    if (place == NULL) {
        return PS_ENOMEM;
    }
    place->command = (struct ps_redis_command){
        .bytes = asking, .deadline = PS_NEVER, .on_done = on_asking_done, .put = before->put};
    ps_list_push(&link->waiting, &place->command.link);
    link->count++;
    link->bytes += asking.len;
    return PS_OK;
}

static int send_some(struct ps_redis_link *link)
{
    struct ps_str parts[PARTS];
    size_t count = 0;
    ps_time now = ps_redis_instant(link->loop);
    while (count < PARTS && !ps_list_is_empty(&link->waiting)) {
        struct ps_redis_command *command =
            PS_LIST_FIRST(&link->waiting, struct ps_redis_command, link);
        ps_list_remove(&command->link);
        ps_list_push(&link->sent, &command->link);
        command->sent = now;
        ps_redis_count(&link->node->operations, 1);
        parts[count++] = command->bytes;
    }
    return ps_redis_wire_write(link->wire, parts, count);
}

static void on_flush(struct ps_task *task)
{
    struct ps_redis_link *link = PS_CONTAINER_OF(task, struct ps_redis_link, flush);
    int err = PS_OK;
    while (err == PS_OK && link->wire != NULL && ps_redis_wire_is_ready(link->wire) &&
           !ps_list_is_empty(&link->waiting)) {
        err = send_some(link);
    }
    if (err != PS_OK) {
        give_up(link, err, ps_err_text(err));
    }
    arm_by(link, stall_at(link));
}

int ps_redis_link_put(struct ps_redis_link *link, struct ps_redis_command *command)
{
    const struct ps_redis_opts *opts = &link->hub->opts;
    if (link->dead || !ps_redis_link_is_usable(link)) {
        return PS_EBUSY;
    }
    if (link->count >= opts->max_pending || command->bytes.len > opts->max_pending_bytes ||
        link->bytes > opts->max_pending_bytes - command->bytes.len) {
        return PS_ELIMIT;
    }
    if (link->wire == NULL) {
        open_wire(link);
    }
    command->put = ps_redis_instant(link->loop);
    command->late = false;
    if (link->wire == NULL || (command->asking && put_asking(link, command) != PS_OK)) {
        return PS_ENOMEM;
    }
    ps_list_push(&link->waiting, &command->link);
    link->count++;
    link->bytes += command->bytes.len;
    ps_loop_defer(link->loop, &link->flush);
    arm_by(link, command->deadline);
    return PS_OK;
}

/* --- the wire --------------------------------------------------------------------------------- */

static void on_ready(void *ctx)
{
    struct ps_redis_link *link = ctx;
    ps_time now = ps_loop_now(link->loop);
    link->ready_at = now;
    if (link->probing) {
        link->probing = false;
        bool closed = ps_redis_breaker_end_probe(&link->node->breaker, &link->hub->opts.breaker,
                                                 true, ps_rng_next(&link->rng), now);
        if (closed) {
            tell(link, true, "it answers");
        }
    }
    if (!link->dead) {
        ps_loop_defer(link->loop, &link->flush);
    }
}

static void on_reply(void *ctx, const struct ps_redis_reply *reply)
{
    struct ps_redis_link *link = ctx;
    if (ps_list_is_empty(&link->sent)) {
        give_up(link, PS_EPARSE, "it spoke without being asked");
        return;
    }
    struct ps_redis_command *command = PS_LIST_FIRST(&link->sent, struct ps_redis_command, link);
    take_out(link, command);
    ps_redis_node_record(link->node, ps_redis_instant(link->loop) - command->sent);
    if (!command->late && reply->type != PS_REDIS_ERROR) {
        ps_redis_breaker_succeed(&link->node->breaker);
    }
    command->on_done(command, reply, PS_OK);
}

/* A wire that worked may end for a harmless reason (the server restarts, or closes idle ones): it
 * is opened again at once. Anything else opens the breaker. */
static void on_down(void *ctx, int err, const char *reason)
{
    struct ps_redis_link *link = ctx;
    bool worked = ps_redis_wire_is_ready(link->wire) && !link->probing &&
                  ps_loop_now(link->loop) - link->ready_at >= WORKED;
    bool harmless = worked && (err == PS_ECLOSED || err == PS_ERESET || err == PS_EIO);
    if (!harmless) {
        give_up(link, err, reason);
        return;
    }
    drop_wire(link);
    fail_all(link, err);
    if (!link->dead && ps_redis_link_is_usable(link) && link->wire == NULL) {
        open_wire(link);
    }
}

static const struct ps_redis_wire_ops wire_ops = {on_ready, on_reply, on_down};

static void open_wire(struct ps_redis_link *link)
{
    int err = ps_redis_wire_new(&link->wire, link->loop, link->hub, link->node, &wire_ops, link);
    if (err != PS_OK && link->probing) {
        link->probing = false;
        ps_redis_breaker_drop_probe(&link->node->breaker, ps_loop_now(link->loop));
    }
}

void ps_redis_link_warm(struct ps_redis_link *link)
{
    if (link->wire == NULL && ps_redis_link_is_usable(link)) {
        open_wire(link);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

struct ps_redis_node *ps_redis_link_node(const struct ps_redis_link *link)
{
    return link->node;
}

bool ps_redis_link_is_usable(const struct ps_redis_link *link)
{
    return ps_redis_breaker_state(&link->node->breaker) == PS_REDIS_CLOSED;
}

bool ps_redis_link_is_ready(const struct ps_redis_link *link)
{
    return link->wire != NULL && ps_redis_wire_is_ready(link->wire);
}

int ps_redis_link_new(struct ps_redis_link **out, struct ps_loop *loop, struct ps_redis_hub *hub,
                      struct ps_redis_node *node, const struct ps_redis_link_ops *ops, void *ctx)
{
    struct ps_redis_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        return PS_ENOMEM;
    }
    *link = (struct ps_redis_link){.loop = loop, .ops = ops, .ctx = ctx};
    link->hub = ps_redis_hub_ref(hub);
    link->node = ps_redis_node_ref(node);
    ps_list_init(&link->waiting);
    ps_list_init(&link->sent);
    link->timer.on_time = on_time;
    link->flush.on_turn = on_flush;
    link->judge.on_turn = on_judge;
    link->rng = ps_rng_make((uint64_t)(uintptr_t)link ^ (uint64_t)ps_loop_now(loop));
    *out = link;
    return PS_OK;
}

static void on_burial(struct ps_task *task)
{
    struct ps_redis_link *link = PS_CONTAINER_OF(task, struct ps_redis_link, burial);
    ps_redis_node_unref(link->node);
    ps_redis_hub_unref(link->hub);
    free(link);
}

void ps_redis_link_free(struct ps_redis_link *link)
{
    if (link == NULL || link->dead) {
        return;
    }
    link->dead = true;
    if (link->probing) {
        ps_redis_breaker_drop_probe(&link->node->breaker, ps_loop_now(link->loop));
    }
    drop_wire(link);
    ps_timer_clear(link->loop, &link->timer);
    ps_task_clear(&link->flush);
    ps_task_clear(&link->judge);
    fail_all(link, PS_ECANCELED);
    link->burial.on_turn = on_burial;
    ps_loop_defer(link->loop, &link->burial);
}
