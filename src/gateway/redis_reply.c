#include "gateway/redis_reply.h"

#include <hiredis/hiredis.h>
#include <hiredis/read.h>
#include <stdlib.h>

#include "base/check.h"

struct ps_redis_reader {
    redisReader *hiredis;
    redisReplyObjectFunctions functions; /* hiredis wants them to be writable */
    struct ps_redis_bounds bounds;
    size_t held;  /* bytes fed that no finished reply was made of */
    size_t items; /* in the reply that is being read */
    bool over;    /* a bound was passed */
};

/* --- what hiredis calls ----------------------------------------------------------------------- */

/* A reply in its parent's place; hiredis takes NULL for out of memory and ends the reading. */
static struct ps_redis_reply *place(const redisReadTask *task, struct ps_redis_reply *reply)
{
    if (reply != NULL && task->parent != NULL) {
        struct ps_redis_reply *parent = task->parent->obj;
        parent->items[task->idx] = reply;
    }
    return reply;
}

static enum ps_redis_type type_of(const redisReadTask *task)
{
    switch (task->type) {
    case REDIS_REPLY_STATUS:
        return PS_REDIS_STATUS;
    case REDIS_REPLY_ERROR:
        return PS_REDIS_ERROR;
    default:
        return PS_REDIS_STRING;
    }
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
    bool known = task->type == REDIS_REPLY_STATUS || task->type == REDIS_REPLY_ERROR ||
                 task->type == REDIS_REPLY_STRING;
    struct ps_redis_reply *reply = known ? malloc(sizeof *reply + len + 1) : NULL;
    if (reply == NULL) {
        return NULL;
    }
    char *copy = (char *)(reply + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    *reply = (struct ps_redis_reply){.type = type_of(task), .text = {copy, len}};
    return place(task, reply);
}

/* The bound is asked before memory is. */
static void *create_items(const redisReadTask *task, size_t count)
{
    struct ps_redis_reader *reader = task->privdata;
    if (task->type != REDIS_REPLY_ARRAY || count > reader->bounds.max_items - reader->items) {
        reader->over = true;
        return NULL;
    }
    reader->items += count;
    struct ps_redis_reply *reply = calloc(1, sizeof *reply);
    if (reply == NULL) {
        return NULL;
    }
    reply->type = PS_REDIS_ARRAY;
    reply->count = count;
    reply->items = calloc(count + 1, sizeof(struct ps_redis_reply *));
    if (reply->items == NULL) {
        free(reply);
        return NULL;
    }
    return place(task, reply);
}

static void *create_integer(const redisReadTask *task, long long value)
{
    struct ps_redis_reply *reply = calloc(1, sizeof *reply);
    if (reply != NULL) {
        reply->type = PS_REDIS_INTEGER;
        reply->integer = value;
    }
    return place(task, reply);
}

static void *create_nil(const redisReadTask *task)
{
    struct ps_redis_reply *reply = calloc(1, sizeof *reply);
    if (reply != NULL) {
        reply->type = PS_REDIS_NIL;
    }
    return place(task, reply);
}

static void free_object(void *object)
{
    ps_redis_reply_free(object);
}

#if HIREDIS_MAJOR >= 1
static void *create_array(const redisReadTask *task, size_t count)
{
    return create_items(task, count);
}

static void *create_double(const redisReadTask *task, double value, char *text, size_t len)
{
    (void)value;
    (void)text;
    (void)len;
    ((struct ps_redis_reader *)task->privdata)->over = true;
    return NULL;
}

static void *create_bool(const redisReadTask *task, int value)
{
    (void)value;
    ((struct ps_redis_reader *)task->privdata)->over = true;
    return NULL;
}
#else
static void *create_array(const redisReadTask *task, int count)
{
    return create_items(task, count < 0 ? SIZE_MAX : (size_t)count);
}
#endif

static const redisReplyObjectFunctions all_functions = {
    .createString = create_string,
    .createArray = create_array,
    .createInteger = create_integer,
    .createNil = create_nil,
    .freeObject = free_object,
#if HIREDIS_MAJOR >= 1
    .createDouble = create_double,
    .createBool = create_bool,
#endif
};

/* --- the reader ------------------------------------------------------------------------------- */

int ps_redis_reader_new(struct ps_redis_reader **out, const struct ps_redis_bounds *bounds)
{
    struct ps_redis_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) {
        return PS_ENOMEM;
    }
    reader->bounds = *bounds;
    reader->functions = all_functions;
    reader->hiredis = redisReaderCreateWithFunctions(&reader->functions);
    if (reader->hiredis == NULL) {
        free(reader);
        return PS_ENOMEM;
    }
    reader->hiredis->privdata = reader;
    *out = reader;
    return PS_OK;
}

void ps_redis_reader_free(struct ps_redis_reader *reader)
{
    if (reader != NULL) {
        redisReaderFree(reader->hiredis);
        free(reader);
    }
}

static int error_of(const struct ps_redis_reader *reader)
{
    if (reader->over) {
        return PS_ELIMIT;
    }
    return reader->hiredis->err == REDIS_ERR_OOM ? PS_ENOMEM : PS_EPARSE;
}

int ps_redis_reader_feed(struct ps_redis_reader *reader, struct ps_str bytes)
{
    if (bytes.len == 0) {
        return PS_OK;
    }
    if (redisReaderFeed(reader->hiredis, bytes.ptr, bytes.len) != REDIS_OK) {
        return error_of(reader);
    }
    reader->held += bytes.len;
    return PS_OK;
}

int ps_redis_reader_next(struct ps_redis_reader *reader, struct ps_redis_reply **out)
{
    void *reply = NULL;
    if (redisReaderGetReply(reader->hiredis, &reply) != REDIS_OK) {
        return error_of(reader);
    }
    /* What hiredis has not looked at may hold whole replies; without one, all of it is of the next.
     */
    if (reply != NULL) {
        reader->held = reader->hiredis->len - reader->hiredis->pos;
        reader->items = 0;
    } else if (reader->held > reader->bounds.max_bytes) {
        reader->over = true;
        return PS_ELIMIT;
    }
    *out = reply;
    return PS_OK;
}

bool ps_redis_reader_is_inside(const struct ps_redis_reader *reader)
{
    return reader->held > 0;
}

/* --- replies ---------------------------------------------------------------------------------- */

/* hiredis bounds the depth at 7 to 9, so this does too. */
void ps_redis_reply_free(struct ps_redis_reply *reply)
{
    if (reply == NULL) {
        return;
    }
    for (size_t i = 0; i < reply->count; i++) {
        ps_redis_reply_free(reply->items[i]);
    }
    free(reply->items);
    free(reply);
}

bool ps_redis_reply_is_error(const struct ps_redis_reply *reply, struct ps_str word)
{
    return reply->type == PS_REDIS_ERROR &&
           ps_str_eq(ps_str_first(reply->text, ps_str_find(reply->text, ' ')), word);
}

bool ps_redis_reply_is(const struct ps_redis_reply *reply, struct ps_str text)
{
    return (reply->type == PS_REDIS_STATUS || reply->type == PS_REDIS_STRING) &&
           ps_str_eq(reply->text, text);
}

const struct ps_redis_reply *ps_redis_reply_item(const struct ps_redis_reply *reply, size_t at,
                                                 enum ps_redis_type type)
{
    if (reply->type != PS_REDIS_ARRAY || at >= reply->count || reply->items[at]->type != type) {
        return NULL;
    }
    return reply->items[at];
}
