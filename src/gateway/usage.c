#include "gateway/usage.h"

#include <string.h>

#include "base/check.h"
#include "gateway/json_view.h"
#include "http/h1_head.h"

/* ---------------------------------------------------------------- the usage object */

enum field {
    FIELD_OTHER,
    FIELD_PROMPT,
    FIELD_INPUT,
    FIELD_COMPLETION,
    FIELD_TOTAL,
    FIELD_CACHE_READ,
    FIELD_CACHE_CREATION,
    FIELD_DETAILS,
    FIELD_CACHED,
    FIELD_COUNT
};

static const struct {
    struct ps_str name;
    enum field field;
    uint32_t depth; /* 1 = in the object, 2 = in its details */
} fields[] = {
    {PS_STR_INIT("prompt_tokens"), FIELD_PROMPT, 1},
    {PS_STR_INIT("input_tokens"), FIELD_INPUT, 1},
    {PS_STR_INIT("completion_tokens"), FIELD_COMPLETION, 1},
    {PS_STR_INIT("output_tokens"), FIELD_COMPLETION, 1},
    {PS_STR_INIT("total_tokens"), FIELD_TOTAL, 1},
    {PS_STR_INIT("cache_read_input_tokens"), FIELD_CACHE_READ, 1},
    {PS_STR_INIT("cache_creation_input_tokens"), FIELD_CACHE_CREATION, 1},
    {PS_STR_INIT("prompt_tokens_details"), FIELD_DETAILS, 1},
    {PS_STR_INIT("input_tokens_details"), FIELD_DETAILS, 1},
    {PS_STR_INIT("cached_tokens"), FIELD_CACHED, 2},
};

struct object {
    uint64_t values[FIELD_COUNT];
    bool has[FIELD_COUNT];
    bool malformed;
    uint32_t depth;
    enum field field;
    bool in_details;
};

static void on_name(struct object *object, struct ps_str name)
{
    object->field = FIELD_OTHER;
    for (size_t i = 0; i < PS_ARRAY_LEN(fields); i++) {
        if (fields[i].depth == object->depth && ps_str_eq(fields[i].name, name)) {
            object->field = fields[i].field;
        }
    }
    if (object->depth == 1) {
        object->in_details = object->field == FIELD_DETAILS;
    } else if (!object->in_details) {
        object->field = FIELD_OTHER;
    }
}

static void on_number(struct object *object, struct ps_str text)
{
    uint64_t value = 0;
    if (object->field == FIELD_OTHER || object->field == FIELD_DETAILS) {
        return;
    }
    if (ps_str_to_u64(text, &value) != PS_OK || value > PS_USAGE_TOKENS_MAX) {
        object->malformed = true;
        return;
    }
    object->values[object->field] = value;
    object->has[object->field] = true;
}

/* A value of another kind where a number was due. */
static void on_odd(struct object *object)
{
    object->malformed =
        object->malformed || (object->field != FIELD_OTHER && object->field != FIELD_DETAILS);
}

/* All terms are at most 2^53, so that no sum overflows. */
static void merge(struct ps_usage *usage, const struct object *object)
{
    const uint64_t *values = object->values;
    const bool *has = object->has;
    usage->malformed = usage->malformed || object->malformed;
    if (has[FIELD_PROMPT]) {
        usage->prompt_tokens = values[FIELD_PROMPT];
    } else if (has[FIELD_INPUT]) {
        usage->prompt_tokens =
            values[FIELD_INPUT] + values[FIELD_CACHE_READ] + values[FIELD_CACHE_CREATION];
    }
    usage->has_prompt = usage->has_prompt || has[FIELD_PROMPT] || has[FIELD_INPUT];
    usage->has_fresh = usage->has_fresh && !has[FIELD_PROMPT] && !has[FIELD_INPUT];
    if (has[FIELD_COMPLETION]) {
        usage->completion_tokens = values[FIELD_COMPLETION];
        usage->has_completion = true;
    }
    if (has[FIELD_CACHED] || has[FIELD_CACHE_READ]) {
        usage->cached_tokens = has[FIELD_CACHED] ? values[FIELD_CACHED] : values[FIELD_CACHE_READ];
        usage->has_cached = true;
    }
    if (usage->has_prompt && usage->cached_tokens > usage->prompt_tokens) {
        usage->cached_tokens = usage->prompt_tokens;
        usage->malformed = true;
    }
    usage->has_total = usage->has_total || has[FIELD_TOTAL];
    if (has[FIELD_TOTAL]) {
        usage->total_tokens = values[FIELD_TOTAL];
    } else if (!usage->has_total) {
        usage->total_tokens = usage->prompt_tokens + usage->completion_tokens;
    }
}

/* Length of the string at the start of text, quotes included; 0 when it has no end. */
static size_t string_length(struct ps_str text)
{
    size_t i = 1;
    while (i < text.len && text.ptr[i] != '"') {
        i += text.ptr[i] == '\\' ? 2 : 1;
    }
    return i < text.len ? i + 1 : 0;
}

/* Length of a number or literal. */
static size_t word_length(struct ps_str text)
{
    size_t i = 0;
    while (i < text.len && !ps_json_view_is_space(text.ptr[i]) &&
           memchr(",:{}[]\"", text.ptr[i], 7) == NULL) {
        i++;
    }
    return i;
}

static size_t take_string(struct object *object, struct ps_str text)
{
    size_t len = string_length(text);
    if (len == 0) {
        return 0;
    }
    struct ps_str behind = ps_json_view_skip_space(ps_str_skip(text, len));
    if (behind.len > 0 && behind.ptr[0] == ':') {
        on_name(object, (struct ps_str){text.ptr + 1, len - 2});
        return len;
    }
    on_odd(object);
    return behind.len > 0 && memchr(",}]", behind.ptr[0], 3) != NULL ? len : 0;
}

static size_t take_word(struct object *object, struct ps_str text)
{
    size_t len = word_length(text);
    char c = text.ptr[0];
    if (c == '-' || (c >= '0' && c <= '9')) {
        on_number(object, ps_str_first(text, len));
    } else if (ps_str_eq(ps_str_first(text, len), PS_STR("true")) ||
               ps_str_eq(ps_str_first(text, len), PS_STR("false"))) {
        on_odd(object);
    } else if (!ps_str_eq(ps_str_first(text, len), PS_STR("null"))) {
        return 0;
    }
    return len;
}

/* Takes one token; returns its length, 0 for what is no JSON. */
static size_t take_token(struct object *object, struct ps_str text)
{
    switch (text.ptr[0]) {
    case '"':
        return take_string(object, text);
    case '{':
    case '[':
        on_odd(object);
        object->field = FIELD_OTHER;
        object->depth++;
        return 1;
    case '}':
    case ']':
        object->field = FIELD_OTHER;
        object->depth--;
        return 1;
    case ',':
    case ':':
        return 1;
    default:
        return take_word(object, text);
    }
}

/* Reads one whole usage object, whose brackets are known to match. It is small and on every request's way:
 * a parser made for it would cost more than all the rest of the scan. Returns false when nothing of it
 * could be used. */
static bool read_object(struct ps_usage *usage, struct ps_str text)
{
    struct object object = {.depth = 0};
    for (text = ps_json_view_skip_space(text); text.len > 0; text = ps_json_view_skip_space(text)) {
        size_t used = take_token(&object, text);
        if (used == 0) {
            usage->malformed = true;
            return false;
        }
        text = ps_str_skip(text, used);
    }
    merge(usage, &object);
    return object.has[FIELD_PROMPT] || object.has[FIELD_INPUT] || object.has[FIELD_COMPLETION] ||
           object.has[FIELD_TOTAL];
}

/* ---------------------------------------------------------------- figures outside of "usage" */

enum box { BOX_TOP, BOX_OTHER, BOX_TIMINGS, BOX_DETAILS, BOX_META };

enum figure { FIGURE_NONE, FIGURE_PROMPT, FIGURE_COMPLETION, FIGURE_CACHED, FIGURE_FRESH };

/* clang-format off */
static const struct {
    enum ps_dialect dialect;
    enum box box;
    struct ps_str name;
} boxes[] = {
    {PS_DIALECT_OPENAI, BOX_TIMINGS, PS_STR_INIT("timings")}, /* llama.cpp */
    {PS_DIALECT_LLAMACPP, BOX_TIMINGS, PS_STR_INIT("timings")},
    {PS_DIALECT_GENERATE, BOX_DETAILS, PS_STR_INIT("details")},
    {PS_DIALECT_GENERATE, BOX_META, PS_STR_INIT("meta_info")},
};

static const struct {
    enum box box;
    enum ps_dialect dialect; /* NONE: whichever has the box */
    enum figure figure;
    struct ps_str name;
} figures[] = {
    {BOX_TOP, PS_DIALECT_OLLAMA, FIGURE_PROMPT, PS_STR_INIT("prompt_eval_count")},
    {BOX_TOP, PS_DIALECT_OLLAMA, FIGURE_COMPLETION, PS_STR_INIT("eval_count")},
    {BOX_TOP, PS_DIALECT_LLAMACPP, FIGURE_PROMPT, PS_STR_INIT("tokens_evaluated")},
    {BOX_TOP, PS_DIALECT_LLAMACPP, FIGURE_COMPLETION, PS_STR_INIT("tokens_predicted")},
    {BOX_TIMINGS, PS_DIALECT_NONE, FIGURE_CACHED, PS_STR_INIT("cache_n")},
    {BOX_TIMINGS, PS_DIALECT_NONE, FIGURE_FRESH, PS_STR_INIT("prompt_n")},
    {BOX_TIMINGS, PS_DIALECT_NONE, FIGURE_COMPLETION, PS_STR_INIT("predicted_n")},
    {BOX_DETAILS, PS_DIALECT_NONE, FIGURE_PROMPT, PS_STR_INIT("input_length")},
    {BOX_DETAILS, PS_DIALECT_NONE, FIGURE_COMPLETION, PS_STR_INIT("generated_tokens")},
    {BOX_META, PS_DIALECT_NONE, FIGURE_PROMPT, PS_STR_INIT("prompt_tokens")},
    {BOX_META, PS_DIALECT_NONE, FIGURE_COMPLETION, PS_STR_INIT("completion_tokens")},
    {BOX_META, PS_DIALECT_NONE, FIGURE_CACHED, PS_STR_INIT("cached_tokens")},
};

static const struct {
    enum ps_dialect dialect;
    enum figure figure;
    struct ps_str name;
} headers[] = {
    {PS_DIALECT_GENERATE, FIGURE_PROMPT, PS_STR_INIT("x-prompt-tokens")},
    {PS_DIALECT_GENERATE, FIGURE_COMPLETION, PS_STR_INIT("x-generated-tokens")},
    {PS_DIALECT_TEI, FIGURE_PROMPT, PS_STR_INIT("x-compute-tokens")},
};
/* clang-format on */

static void set(uint64_t *field, bool *has, uint64_t value, bool add)
{
    uint64_t sum = add && *has ? *field + value : value;
    *field = sum < PS_USAGE_TOKENS_MAX ? sum : PS_USAGE_TOKENS_MAX;
    *has = true;
}

/* `add`: one of several answers. llama.cpp counts what it read anew apart from what it had; that is
 * the prompt unless it says the whole as well. */
static void apply(struct ps_usage *usage, enum figure figure, uint64_t value, bool add)
{
    switch (figure) {
    case FIGURE_NONE:
        return;
    case FIGURE_PROMPT:
        set(&usage->prompt_tokens, &usage->has_prompt, value, add);
        usage->has_fresh = false;
        break;
    case FIGURE_COMPLETION:
        set(&usage->completion_tokens, &usage->has_completion, value, add);
        break;
    case FIGURE_CACHED:
        set(&usage->cached_tokens, &usage->has_cached, value, add);
        break;
    case FIGURE_FRESH:
        usage->has_fresh = usage->has_fresh || !usage->has_prompt;
        usage->fresh_tokens = value;
        break;
    }
    if (usage->has_fresh) {
        usage->prompt_tokens = usage->fresh_tokens + usage->cached_tokens;
        usage->has_prompt = true;
    }
    if (!usage->has_total) {
        usage->total_tokens = usage->prompt_tokens + usage->completion_tokens;
    }
}

void ps_usage_read_head(struct ps_usage *usage, enum ps_dialect dialect, const struct ps_h1_head *head)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(headers); i++) {
        const struct ps_h1_header *header =
            headers[i].dialect == dialect ? ps_h1_head_find_name(head, headers[i].name) : NULL;
        uint64_t value = 0;
        if (header == NULL) {
            continue;
        }
        if (ps_str_to_u64(header->value, &value) == PS_OK && value <= PS_USAGE_TOKENS_MAX) {
            apply(usage, headers[i].figure, value, false);
        } else {
            usage->malformed = true;
        }
    }
}

/* ---------------------------------------------------------------- the scanner */

void ps_usage_reader_init(struct ps_usage_reader *reader, enum ps_dialect dialect,
                          struct ps_usage *usage)
{
    *reader = (struct ps_usage_reader){
        .usage = usage, .dialect = (uint8_t)dialect, .object = ps_buf_make(PS_USAGE_OBJECT_MAX)};
}

void ps_usage_reader_fini(struct ps_usage_reader *reader)
{
    ps_buf_fini(&reader->object);
}

static bool key_is(const struct ps_usage_reader *reader, struct ps_str name)
{
    return ps_str_eq((struct ps_str){reader->key, reader->key_len}, name);
}

/* The depth at which member names matter. */
static bool is_listening(const struct ps_usage_reader *reader)
{
    return reader->depth == 1 || (reader->depth == 2 && reader->below);
}

static void capture(struct ps_usage_reader *reader, struct ps_str bytes)
{
    if (!reader->too_large && ps_buf_append_str(&reader->object, bytes) != PS_OK) {
        reader->too_large = true;
    }
}

static enum box box_of(const struct ps_usage_reader *reader)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(boxes); i++) {
        if (boxes[i].dialect == reader->dialect && key_is(reader, boxes[i].name)) {
            return boxes[i].box;
        }
    }
    return BOX_OTHER;
}

static enum figure figure_of(const struct ps_usage_reader *reader)
{
    enum box box = reader->depth == 1 ? BOX_TOP : (enum box)reader->box;
    for (size_t i = 0; i < PS_ARRAY_LEN(figures); i++) {
        bool ours = figures[i].dialect == PS_DIALECT_NONE || figures[i].dialect == reader->dialect;
        if (figures[i].box == box && ours && key_is(reader, figures[i].name)) {
            return figures[i].figure;
        }
    }
    return FIGURE_NONE;
}

enum { DIGITS_MAX = 17, NO_NUMBER = UINT8_MAX };

static void on_figure_ends(struct ps_usage_reader *reader)
{
    bool good = reader->digits > 0 && reader->digits <= DIGITS_MAX && reader->number <= PS_USAGE_TOKENS_MAX;
    if (good) {
        apply(reader->usage, (enum figure)reader->figure, reader->number, reader->base > 0);
        reader->found = true;
    } else {
        reader->usage->malformed = true;
    }
    reader->figure = FIGURE_NONE;
}

/* Reads on inside a number; returns the bytes used, without the one that ends it. */
static size_t take_digits(struct ps_usage_reader *reader, const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (at[i] >= '0' && at[i] <= '9' && reader->digits <= DIGITS_MAX) {
            reader->number = reader->number * 10 + (uint64_t)(at[i] - '0');
            reader->digits++;
        } else if (ps_json_view_is_space(at[i]) || memchr(",}]", at[i], 3) != NULL) {
            on_figure_ends(reader);
            return i;
        } else {
            reader->digits = NO_NUMBER;
        }
    }
    return len;
}

/* The value of a member begins, and it is no string and no container. */
static void on_scalar(struct ps_usage_reader *reader, char c)
{
    bool null = c == 'n';
    reader->value_next = false;
    reader->figure = null ? FIGURE_NONE : (uint8_t)figure_of(reader);
    reader->number = c >= '0' && c <= '9' ? (uint64_t)(c - '0') : 0;
    reader->digits = c >= '0' && c <= '9' ? 1 : NO_NUMBER;
}

static void on_value_opens(struct ps_usage_reader *reader, char c)
{
    if (c == '{' && key_is(reader, PS_STR("usage"))) {
        reader->capturing = true;
        reader->too_large = false;
        ps_buf_clear(&reader->object);
    } else if (c == '[' && reader->depth == 1 && key_is(reader, PS_STR("choices"))) {
        reader->choices_open = true;
    } else if (c == '{' && reader->depth == 1) {
        reader->box = (uint8_t)box_of(reader);
        reader->below = reader->box != BOX_OTHER || key_is(reader, PS_STR("response")) ||
                        key_is(reader, PS_STR("message"));
    }
}

static void on_opens(struct ps_usage_reader *reader, char c)
{
    if (reader->depth == 0 && c == '[') {
        reader->given_up = reader->dialect != PS_DIALECT_GENERATE || reader->base > 0;
        reader->base = 1;
        return;
    }
    if (reader->value_next) {
        on_value_opens(reader, c);
    }
    reader->value_next = false;
    reader->depth++;
    reader->name_next = c == '{' && !reader->capturing && is_listening(reader);
}

static void on_captured(struct ps_usage_reader *reader)
{
    reader->capturing = false;
    if (reader->too_large) {
        reader->usage->malformed = true;
    } else if (read_object(reader->usage, ps_buf_str(&reader->object))) {
        reader->found = true;
    }
}

static void on_closes(struct ps_usage_reader *reader)
{
    if (reader->depth == 0) {
        reader->given_up = true; /* also at the end of an array of answers */
        return;
    }
    reader->depth--;
    reader->name_next = false;
    reader->value_next = false;
    if (reader->depth <= 1) {
        reader->below = false;
    }
}

/* One byte outside of strings that means something. */
static void on_structure(struct ps_usage_reader *reader, char c)
{
    bool first_in_choices = reader->choices_open;
    reader->choices_open = false;
    switch (c) {
    case '"':
        if (reader->value_next && figure_of(reader) != FIGURE_NONE) {
            reader->usage->malformed = true;
        }
        reader->in_string = true;
        reader->in_name = reader->name_next;
        reader->name_next = false;
        reader->value_next = false;
        reader->key_len = reader->in_name ? 0 : reader->key_len;
        break;
    case '{':
    case '[':
        on_opens(reader, c);
        break;
    case '}':
    case ']':
        reader->choices_empty = reader->choices_empty || (first_in_choices && c == ']');
        on_closes(reader);
        break;
    case ':':
        reader->value_next = is_listening(reader) && reader->in_name && !reader->capturing;
        reader->in_name = false;
        break;
    case ',':
        reader->name_next = is_listening(reader) && !reader->capturing;
        reader->value_next = false;
        break;
    default:
        if (reader->value_next) {
            on_scalar(reader, c);
        }
        break;
    }
}

/* Where the string ends or an escape begins; len when neither is here. Most of an answer is text, so this is
 * the loop that counts: memchr looks at 32 bytes at a time. */
static size_t find_quote(const char *at, size_t len)
{
    const char *quote = memchr(at, '"', len);
    size_t until = quote == NULL ? len : (size_t)(quote - at);
    const char *escape = memchr(at, '\\', until);
    return escape == NULL ? until : (size_t)(escape - at);
}

/* The bytes of a member's name are kept as far as there is room: longer ones are none of ours. */
static void keep_name(struct ps_usage_reader *reader, const char *at, size_t len)
{
    size_t room = sizeof reader->key - reader->key_len;
    len = len < room ? len : room;
    memcpy(reader->key + reader->key_len, at, len);
    reader->key_len = (uint8_t)(reader->key_len + len);
}

/* Reads on inside a string; returns the bytes used. */
static size_t skim_string(struct ps_usage_reader *reader, const char *at, size_t len)
{
    size_t i = 0;
    while (i < len && reader->in_string) {
        size_t from = i;
        if (reader->escaped) {
            reader->escaped = false;
            i++;
        } else {
            i += find_quote(at + i, len - i);
            reader->escaped = i < len && at[i] == '\\';
            reader->in_string = i == len || reader->escaped;
        }
        bool whole = i < len && reader->escaped;
        if (reader->in_name) {
            keep_name(reader, at + from, i - from + (whole ? 1 : 0));
        }
        i += i < len && (whole || !reader->in_string) ? 1 : 0;
    }
    return i;
}

/* Bytes that can't change the state: numbers and literals in an array that nobody looks at. */
static size_t skim_plain(const char *at, size_t len)
{
    size_t i = 0;
    while (i < len && at[i] != '"' && at[i] != '{' && at[i] != '}' && at[i] != '[' &&
           at[i] != ']') {
        i++;
    }
    return i;
}

static size_t step(struct ps_usage_reader *reader, const char *at, size_t len)
{
    if (reader->in_string) {
        return skim_string(reader, at, len);
    }
    if (reader->figure != FIGURE_NONE) {
        size_t used = take_digits(reader, at, len);
        if (used > 0) {
            return used;
        }
    }
    if (reader->depth > 2 || (reader->depth == 2 && !reader->below && !reader->choices_open)) {
        size_t n = skim_plain(at, len);
        if (n > 0) {
            return n;
        }
    }
    if (!ps_json_view_is_space(at[0])) {
        on_structure(reader, at[0]);
    }
    return 1;
}

void ps_usage_reader_feed(struct ps_usage_reader *reader, struct ps_str bytes)
{
    size_t i = 0;
    size_t from = 0; /* of what is to be captured */
    while (i < bytes.len && !reader->given_up) {
        bool was = reader->capturing;
        uint32_t depth = reader->depth;
        size_t used = step(reader, bytes.ptr + i, bytes.len - i);
        if (!was && reader->capturing) {
            from = i;
            reader->capture_depth = depth;
        }
        i += used;
        if (reader->capturing && reader->depth == reader->capture_depth) {
            capture(reader, (struct ps_str){bytes.ptr + from, i - from});
            on_captured(reader);
        }
    }
    if (reader->capturing) {
        capture(reader, (struct ps_str){bytes.ptr + from, bytes.len - from});
    }
}

/* ---------------------------------------------------------------- streams */

/* Does a member "usage" with a value other than null stand anywhere? Inside of JSON strings quotes
 * are escaped, so what is found is a name or a whole string. */
static bool may_have_usage(struct ps_str data)
{
    static const char name[] = "\"usage\"";
    const char *end = data.ptr + data.len;
    const char *at = data.len == 0 ? NULL : memmem(data.ptr, data.len, name, sizeof name - 1);
    while (at != NULL) {
        at += sizeof name - 1;
        const char *value = at;
        while (value < end && (ps_json_view_is_space(*value) || *value == ':')) {
            value++;
        }
        if (value < end && *value == '{') {
            return true;
        }
        at = memmem(at, (size_t)(end - at), name, sizeof name - 1);
    }
    return false;
}

/* Is it worth while to read the event? Most have a word and nothing else. */
static bool may_tell(enum ps_dialect dialect, struct ps_str data)
{
    switch (dialect) {
    case PS_DIALECT_OLLAMA:
        return ps_str_contains(data, PS_STR("eval_count\""));
    case PS_DIALECT_LLAMACPP:
        return ps_str_contains(data, PS_STR("\"tokens_")) || ps_str_contains(data, PS_STR("\"timings\""));
    case PS_DIALECT_GENERATE:
        return ps_str_contains(data, PS_STR("\"meta_info\"")) || ps_str_contains(data, PS_STR("\"details\""));
    case PS_DIALECT_OPENAI:
        /* llama.cpp puts its timings last. */
        return may_have_usage(data) ||
               (ps_str_ends_with(data, PS_STR("}}")) && ps_str_contains(data, PS_STR("\"timings\"")));
    default:
        return may_have_usage(data);
    }
}

struct ps_usage_event ps_usage_read_event(struct ps_usage *usage, enum ps_dialect dialect,
                                          struct ps_str data)
{
    struct ps_usage_event event = {.done = ps_str_eq(ps_str_trim(data), PS_STR("[DONE]"))};
    if (event.done) {
        return event;
    }
    if (may_tell(dialect, data)) {
        struct ps_usage_reader reader;
        ps_usage_reader_init(&reader, dialect, usage);
        ps_usage_reader_feed(&reader, data);
        event.has_usage = reader.found;
        event.only_usage = reader.found && reader.choices_empty;
        ps_usage_reader_fini(&reader);
    }
    usage->events += !event.only_usage;
    return event;
}

static uint64_t tokens_of(uint64_t bytes, double bytes_per_token)
{
    double tokens = (double)bytes / (bytes_per_token > 0 ? bytes_per_token : 1) + 0.999;
    return tokens < (double)PS_USAGE_TOKENS_MAX ? (uint64_t)tokens : PS_USAGE_TOKENS_MAX;
}

void ps_usage_estimate(struct ps_usage *usage, uint64_t input_tokens, uint64_t answer_bytes,
                       double bytes_per_token)
{
    bool by_total = usage->has_total && usage->has_prompt && !usage->has_completion;
    if (usage->has_prompt && (usage->has_completion || by_total)) {
        return;
    }
    usage->estimated = true;
    if (!usage->has_prompt) {
        usage->prompt_tokens =
            input_tokens < PS_USAGE_TOKENS_MAX ? input_tokens : PS_USAGE_TOKENS_MAX;
    }
    if (!usage->has_completion) {
        usage->completion_tokens =
            usage->events > 0 ? usage->events : tokens_of(answer_bytes, bytes_per_token);
    }
    if (!usage->has_total) {
        usage->total_tokens = usage->prompt_tokens + usage->completion_tokens;
    }
}
