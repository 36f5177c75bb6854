#include "export/otlp_decode.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <otlp.pb-c.h>

#include "operate/json.h"

/* ---- memory: one piece after the other, and all of it at the end */

enum { BLOCK = 64 * 1024, ALIGN = 16 };

struct block {
    struct block *next;
    size_t used, size;
    _Alignas(ALIGN) char bytes[];
};

struct ps_otlp_arena {
    struct block *blocks; /* newest first */
    size_t total;
    bool full; /* something was refused because of the bound */
};

static void *take(struct ps_otlp_arena *arena, size_t size)
{
    if (size > PS_OTLP_MEMORY_MOST) {
        arena->full = true;
        return NULL;
    }
    size = (size + ALIGN - 1) / ALIGN * ALIGN;
    struct block *block = arena->blocks;
    if (block == NULL || block->size - block->used < size) {
        size_t room = size > BLOCK ? size : BLOCK;
        if (room > PS_OTLP_MEMORY_MOST - arena->total) {
            arena->full = true;
            return NULL;
        }
        block = malloc(sizeof *block + room);
        if (block == NULL) {
            return NULL;
        }
        *block = (struct block){.next = arena->blocks, .size = room};
        arena->blocks = block;
        arena->total += room;
    }
    void *piece = block->bytes + block->used;
    block->used += size;
    return piece;
}

static void free_arena(struct ps_otlp_arena *arena)
{
    while (arena != NULL && arena->blocks != NULL) {
        struct block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
    free(arena);
}

void ps_otlp_request_fini(struct ps_otlp_request *request)
{
    free_arena(request->arena);
}

/* ---- gzip */

static int inflate_all(z_stream *stream, struct ps_buf *out)
{
    int code = Z_OK;
    while (code == Z_OK) {
        size_t more = out->limit - out->len;
        int err = ps_buf_reserve(out, more == 0 ? 1 : more < BLOCK ? more : BLOCK);
        if (err != PS_OK) {
            return err;
        }
        stream->next_out = (Bytef *)out->data + out->len;
        stream->avail_out = (uInt)(out->cap - out->len < UINT_MAX ? out->cap - out->len : UINT_MAX);
        uInt before = stream->avail_out;
        code = inflate(stream, Z_NO_FLUSH);
        out->len += before - stream->avail_out;
    }
    return code == Z_STREAM_END && stream->avail_in == 0 ? PS_OK
           : code == Z_MEM_ERROR                         ? PS_ENOMEM
                                                         : PS_EPARSE;
}

int ps_otlp_gunzip(struct ps_str body, struct ps_buf *out)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)body.ptr, .avail_in = (uInt)body.len};
    if (body.len == 0 || body.len > UINT_MAX) {
        return PS_EPARSE;
    }
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) {
        return PS_ENOMEM;
    }
    int err = inflate_all(&stream, out);
    inflateEnd(&stream);
    return err;
}

/* ---- protobuf */

static void *on_alloc(void *arena, size_t size)
{
    return take(arena, size);
}

static void on_free(void *arena, void *piece)
{
    (void)arena;
    (void)piece;
}

static int fail(struct ps_otlp_arena *arena, const char *why, char *reason, size_t size)
{
    int err = arena == NULL ? PS_ENOMEM : arena->full ? PS_ELIMIT : PS_EPARSE;
    snprintf(reason, size, "%s",
             err == PS_ENOMEM   ? "out of memory"
             : err == PS_ELIMIT ? "the request takes too much memory: send it in smaller parts"
                                : why);
    free_arena(arena);
    return err;
}

int ps_otlp_decode_protobuf(struct ps_otlp_request *out, struct ps_str body, char *reason,
                            size_t size)
{
    struct ps_otlp_arena *arena = calloc(1, sizeof *arena);
    ProtobufCAllocator allocator = {on_alloc, on_free, arena};
    Ps__Otlp__ExportMetricsServiceRequest *message =
        arena == NULL
            ? NULL
            : ps__otlp__export_metrics_service_request__unpack(
                  &allocator, body.len, (const uint8_t *)(body.ptr == NULL ? "" : body.ptr));
    if (message == NULL) {
        return fail(arena, "not a protobuf ExportMetricsServiceRequest", reason, size);
    }
    *out = (struct ps_otlp_request){message, arena};
    return PS_OK;
}

/* ---- JSON */

struct reader {
    struct ps_otlp_arena *arena;
    const char *field; /* the last that was looked at, for the reason; ours */
};

/* What a tree of the text takes at most, roughly: an object is some 300 bytes even when it is
 * empty. */
static bool is_too_heavy(struct ps_str body)
{
    size_t weight = 0;
    for (size_t i = 0; i < body.len; i++) {
        char c = body.ptr[i];
        weight += c == '{' ? 320 : c == '[' ? 128 : c == ',' ? 56 : c == ':' ? 96 : 0;
    }
    return weight > PS_OTLP_MEMORY_MOST;
}

/* start_time_unix_nano -> startTimeUnixNano */
static void camel(const char *name, char out[64])
{
    size_t len = 0;
    for (; *name != '\0' && len < 63; name++) {
        if (*name == '_' && name[1] != '\0') {
            name++;
            out[len++] = (char)(*name - 'a' + 'A');
        } else {
            out[len++] = *name;
        }
    }
    out[len] = '\0';
}

static bool read_signed(json_t *value, int64_t *out)
{
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    struct ps_str text = {json_string_value(value), json_string_length(value)};
    bool minus = text.len > 0 && text.ptr[0] == '-';
    uint64_t number;
    uint64_t most = (uint64_t)INT64_MAX + (minus ? 1 : 0);
    if (text.ptr == NULL || ps_str_to_u64(ps_str_skip(text, minus ? 1 : 0), &number) != PS_OK ||
        number > most) {
        return false;
    }
    *out = minus ? (int64_t)(0 - number) : (int64_t)number;
    return true;
}

static bool read_unsigned(json_t *value, uint64_t *out)
{
    if (json_is_integer(value)) {
        *out = (uint64_t)json_integer_value(value);
        return json_integer_value(value) >= 0;
    }
    struct ps_str text = {json_string_value(value), json_string_length(value)};
    return text.ptr != NULL && ps_str_to_u64(text, out) == PS_OK;
}

static bool read_double(json_t *value, double *out)
{
    struct ps_str text = {json_string_value(value), json_string_length(value)};
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return true;
    }
    if (text.ptr == NULL) {
        return false;
    }
    if (ps_str_eq(text, PS_STR("NaN"))) {
        *out = NAN;
        return true;
    }
    if (ps_str_eq(text, PS_STR("Infinity")) || ps_str_eq(text, PS_STR("-Infinity"))) {
        *out = text.ptr[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    return ps_str_to_double(text, out) == PS_OK;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool read_hex(struct ps_str text, ProtobufCBinaryData *out)
{
    if (text.len % 2 != 0) {
        return false;
    }
    for (size_t i = 0; i < text.len; i += 2) {
        int high = digit_of(text.ptr[i]), low = digit_of(text.ptr[i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out->data[i / 2] = (uint8_t)(high * 16 + low);
    }
    out->len = text.len / 2;
    return true;
}

static bool read_bytes(struct reader *reader, const ProtobufCFieldDescriptor *field, json_t *value,
                       ProtobufCBinaryData *out)
{
    struct ps_str text = {json_string_value(value), json_string_length(value)};
    if (text.ptr == NULL || (out->data = take(reader->arena, text.len + 1)) == NULL) {
        return false;
    }
    if (ps_str_ends_with(ps_str_from(field->name), PS_STR("_id"))) {
        return read_hex(text, out);
    }
    memcpy(out->data, text.ptr, text.len);
    out->len = text.len;
    return true;
}

static bool read_message(struct reader *reader, json_t *value,
                         const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out);

/* Reads one value of a field into `to`, which has the field's type. */
static bool read_value(struct reader *reader, const ProtobufCFieldDescriptor *field, json_t *value,
                       void *to)
{
    int64_t number;
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return read_message(reader, value, field->descriptor, to);
    case PROTOBUF_C_TYPE_BYTES:
        return read_bytes(reader, field, value, to);
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_double(value, to);
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)to = json_is_true(value);
        return json_is_boolean(value);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return read_signed(value, to);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_unsigned(value, to);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
        if (!read_signed(value, &number) || number < INT32_MIN || number > INT32_MAX) {
            return false;
        }
        *(int32_t *)to = (int32_t)number;
        return true;
    case PROTOBUF_C_TYPE_UINT32:
        if (!read_signed(value, &number) || number < 0 || number > UINT32_MAX) {
            return false;
        }
        *(uint32_t *)to = (uint32_t)number;
        return true;
    default:
        return false; /* our messages have no others */
    }
}

static size_t size_of(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_UINT32:
        return sizeof(int32_t);
    default:
        return sizeof(uint64_t);
    }
}

static bool read_list(struct reader *reader, const ProtobufCFieldDescriptor *field, json_t *list,
                      char *message)
{
    size_t count = json_array_size(list);
    size_t each = size_of(field);
    char *items = json_is_array(list) ? take(reader->arena, count * each + 1) : NULL;
    if (items == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_value(reader, field, json_array_get(list, i), items + i * each)) {
            return false;
        }
    }
    *(void **)(void *)(message + field->offset) = items;
    *(size_t *)(void *)(message + field->quantifier_offset) = count;
    return true;
}

/* Says that the field is there: of several, which; else a flag beside the value. */
static void mark(const ProtobufCFieldDescriptor *field, char *message)
{
    char *at = message + field->quantifier_offset;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        *(uint32_t *)(void *)at = field->id;
    } else if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        *(protobuf_c_boolean *)(void *)at = true;
    }
}

static bool read_field(struct reader *reader, const ProtobufCFieldDescriptor *field, json_t *object,
                       char *message)
{
    char name[64];
    camel(field->name, name);
    json_t *value = json_object_get(object, name);
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    bool sound = field->label == PROTOBUF_C_LABEL_REPEATED
                     ? read_list(reader, field, value, message)
                     : read_value(reader, field, value, message + field->offset);
    if (!sound) {
        reader->field = reader->field == NULL ? field->name : reader->field;
        return false;
    }
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        mark(field, message);
    }
    return true;
}

/* As deep as our messages are: nothing in them is recursive. */
static bool read_message(struct reader *reader, json_t *value,
                         const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out)
{
    ProtobufCMessage *message =
        json_is_object(value) ? take(reader->arena, descriptor->sizeof_message) : NULL;
    if (message == NULL) {
        return false;
    }
    protobuf_c_message_init(descriptor, message);
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        if (!read_field(reader, &descriptor->fields[i], value, (char *)message)) {
            return false;
        }
    }
    *out = message;
    return true;
}

static int read_tree(struct ps_otlp_request *out, json_t *root, char *reason, size_t size)
{
    struct reader reader = {.arena = calloc(1, sizeof *reader.arena)};
    ProtobufCMessage *message;
    char why[128];
    bool sound = reader.arena != NULL &&
                 read_message(&reader, root, &ps__otlp__export_metrics_service_request__descriptor,
                              &message);
    if (!sound) {
        char name[64];
        camel(reader.field == NULL ? "the document" : reader.field, name);
        snprintf(why, sizeof why, "%s is not what OTLP/JSON has there", name);
        return fail(reader.arena, why, reason, size);
    }
    *out = (struct ps_otlp_request){(Ps__Otlp__ExportMetricsServiceRequest *)message, reader.arena};
    return PS_OK;
}

int ps_otlp_decode_json(struct ps_otlp_request *out, struct ps_str body, char *reason, size_t size)
{
    if (is_too_heavy(body)) {
        snprintf(reason, size, "the request takes too much memory: send it in smaller parts");
        return PS_ELIMIT;
    }
    json_t *root = ps_json_read(body, JSON_ALLOW_NUL, reason, size);
    if (root == NULL) {
        return PS_EPARSE;
    }
    int err = read_tree(out, root, reason, size);
    json_decref(root);
    return err;
}
