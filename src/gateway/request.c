#include "gateway/request.h"

#include <assert.h>
#include <stdlib.h>

#include "base/check.h"
#include "gateway/json.h"

/* Top-level members that mean something to us. */
enum member {
    MEMBER_OTHER,
    MEMBER_MODEL,
    MEMBER_STREAM,
    MEMBER_STREAM_OPTIONS,
    MEMBER_MESSAGES,
    MEMBER_PROMPT,
    MEMBER_INSTRUCTIONS,
    MEMBER_TOOLS,
    MEMBER_MAX_TOKENS,
    MEMBER_N,
    MEMBER_TEMPERATURE,
    MEMBER_SEED,
    MEMBER_SIZE,
    MEMBER_WIDTH,
    MEMBER_HEIGHT,
    MEMBER_STEPS
};

static const struct known {
    struct ps_str name;
    enum member member;
    bool guarded; /* an upstream that reads another one than we do is dangerous */
} known_members[] = {
    {PS_STR_INIT("model"), MEMBER_MODEL, true},
    {PS_STR_INIT("stream"), MEMBER_STREAM, true},
    {PS_STR_INIT("stream_options"), MEMBER_STREAM_OPTIONS, true},
    {PS_STR_INIT("messages"), MEMBER_MESSAGES, false},
    {PS_STR_INIT("prompt"), MEMBER_PROMPT, false},
    {PS_STR_INIT("input"), MEMBER_PROMPT, false},
    {PS_STR_INIT("instructions"), MEMBER_INSTRUCTIONS, false},
    {PS_STR_INIT("system"), MEMBER_INSTRUCTIONS, false},
    {PS_STR_INIT("tools"), MEMBER_TOOLS, false},
    {PS_STR_INIT("max_tokens"), MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("max_completion_tokens"), MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("max_output_tokens"), MEMBER_MAX_TOKENS, false},
    {PS_STR_INIT("n"), MEMBER_N, false},
    {PS_STR_INIT("temperature"), MEMBER_TEMPERATURE, false},
    {PS_STR_INIT("seed"), MEMBER_SEED, false},
    {PS_STR_INIT("size"), MEMBER_SIZE, false},
    {PS_STR_INIT("width"), MEMBER_WIDTH, false},
    {PS_STR_INIT("height"), MEMBER_HEIGHT, false},
    {PS_STR_INIT("steps"), MEMBER_STEPS, false},
    {PS_STR_INIT("num_inference_steps"), MEMBER_STEPS, false},
};

static_assert(PS_ARRAY_LEN(known_members) <= 32, "one bit per member");

enum value_type { VALUE_NULL, VALUE_TRUE, VALUE_FALSE, VALUE_NUMBER, VALUE_STRING };

struct ps_request_parser {
    struct ps_request request;
    struct ps_json *json;
    const char *refused; /* why a callback stopped the parse */
    uint64_t key_end;    /* behind the last top-level name */
    uint64_t include_key_end;
    uint32_t seen;  /* bit per known member */
    uint32_t depth; /* open containers */
    enum member member;
    bool in_include; /* the value of stream_options.include_usage comes next */
    bool in_role;    /* the value of a message's role comes next */
    bool in_media;   /* the value of a member that is no text comes next */
    bool ended;
    size_t prefix_len;
    char prefix[PS_REQUEST_PREFIX_MAX]; /* the last member: not zeroed at the start */
};

/* ---------------------------------------------------------------- small things */

static const struct {
    struct ps_str tail;
    enum ps_request_kind kind;
} kinds[] = {
    {PS_STR_INIT("/chat/completions"), PS_REQUEST_CHAT},
    {PS_STR_INIT("/completions"), PS_REQUEST_COMPLETIONS},
    {PS_STR_INIT("/embeddings"), PS_REQUEST_EMBEDDINGS},
    {PS_STR_INIT("/images/generations"), PS_REQUEST_IMAGES},
    {PS_STR_INIT("/responses"), PS_REQUEST_RESPONSES},
};

enum ps_request_kind ps_request_kind_of(struct ps_str path)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(kinds); i++) {
        if (ps_str_ends_with(path, kinds[i].tail)) {
            return kinds[i].kind;
        }
    }
    return PS_REQUEST_OTHER;
}

const char *ps_request_kind_text(enum ps_request_kind kind)
{
    switch (kind) {
    case PS_REQUEST_OTHER:
        break;
    case PS_REQUEST_CHAT:
        return "chat";
    case PS_REQUEST_COMPLETIONS:
        return "completions";
    case PS_REQUEST_EMBEDDINGS:
        return "embeddings";
    case PS_REQUEST_IMAGES:
        return "images";
    case PS_REQUEST_RESPONSES:
        return "responses";
    }
    return "other";
}

static int refuse(struct ps_request_parser *parser, const char *reason)
{
    parser->refused = reason;
    return 0;
}

/* Whole numbers only; what an upstream would refuse is as good as absent. */
static void take_number(struct ps_str text, uint64_t *out)
{
    uint64_t number = 0;
    if (ps_str_to_u64(text, &number) == PS_OK) {
        *out = number;
    }
}

static void remember_prefix(struct ps_request_parser *parser, struct ps_str text, char end)
{
    size_t room = sizeof parser->prefix - parser->prefix_len;
    text = ps_str_first(text, room);
    if (text.len > 0) {
        memcpy(parser->prefix + parser->prefix_len, text.ptr, text.len);
        parser->prefix_len += text.len;
    }
    if (text.len < room) {
        parser->prefix[parser->prefix_len++] = end;
    }
}

/* ---------------------------------------------------------------- names */

static const struct known *find_member(struct ps_str name)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(known_members); i++) {
        const struct known *known = &known_members[i];
        /* Some servers read names in any case of letters: guard these as well. */
        if (known->guarded ? ps_str_ieq(known->name, name) : ps_str_eq(known->name, name)) {
            return known;
        }
    }
    return NULL;
}

static int on_top_name(struct ps_request_parser *parser, struct ps_str name)
{
    const struct known *known = find_member(name);
    parser->key_end = ps_json_offset(parser->json);
    parser->member = MEMBER_OTHER;
    if (known == NULL) {
        return 1;
    }
    uint32_t bit = 1u << (known - known_members);
    if ((parser->seen & bit) != 0) {
        parser->request.duplicate_members = true;
        if (known->guarded) {
            return refuse(parser, "model, stream or stream_options is given twice");
        }
    }
    parser->seen |= bit;
    if (!ps_str_eq(known->name, name)) {
        return refuse(parser, "model, stream and stream_options are in lower case");
    }
    parser->member = known->member;
    return 1;
}

static bool is_media_name(struct ps_str name)
{
    return ps_str_eq(name, PS_STR("url")) || ps_str_eq(name, PS_STR("image_url")) ||
           ps_str_eq(name, PS_STR("data")) || ps_str_eq(name, PS_STR("file_data"));
}

static int on_options_name(struct ps_request_parser *parser, struct ps_str name)
{
    struct ps_request *request = &parser->request;
    request->options_empty = false;
    parser->in_include = ps_str_eq(name, PS_STR("include_usage"));
    if (parser->in_include) {
        if (request->include_span.end != 0) {
            return refuse(parser, "include_usage is given twice");
        }
        parser->include_key_end = ps_json_offset(parser->json);
    }
    return 1;
}

static int on_name(void *ctx, const unsigned char *bytes, size_t len)
{
    struct ps_request_parser *parser = ctx;
    struct ps_str name = {(const char *)bytes, len};
    if (parser->depth == 1) {
        return on_top_name(parser, name);
    }
    if (parser->member == MEMBER_STREAM_OPTIONS && parser->depth == 2) {
        return on_options_name(parser, name);
    }
    parser->in_role = ps_str_eq(name, PS_STR("role"));
    parser->in_media = is_media_name(name);
    return 1;
}

/* ---------------------------------------------------------------- values */

static int on_model(struct ps_request_parser *parser, enum value_type type, struct ps_str text)
{
    struct ps_request *request = &parser->request;
    if (type != VALUE_STRING) {
        return 1; /* the upstream will say what it thinks of that */
    }
    if (text.len > PS_REQUEST_MODEL_MAX) {
        return refuse(parser, "the model's name is too long");
    }
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f) {
            return refuse(parser, "control character in the model's name");
        }
    }
    memcpy(request->model, text.ptr, text.len);
    request->model[text.len] = '\0';
    request->model_len = text.len;
    request->model_span = (struct ps_request_span){parser->key_end, ps_json_offset(parser->json)};
    return 1;
}

static int on_stream(struct ps_request_parser *parser, enum value_type type)
{
    /* Lenient servers take "true" or 1 for yes: what they would do must not be a guess. */
    if (type == VALUE_NUMBER || type == VALUE_STRING) {
        return refuse(parser, "stream must be true or false");
    }
    parser->request.stream = type == VALUE_TRUE;
    return 1;
}

static int on_options_scalar(struct ps_request_parser *parser, enum value_type type)
{
    struct ps_request *request = &parser->request;
    uint64_t end = ps_json_offset(parser->json);
    if (parser->depth == 1) {
        request->options_span = (struct ps_request_span){parser->key_end, end};
        request->options_invalid = type != VALUE_NULL;
    } else if (parser->depth == 2 && parser->in_include) {
        request->include_span = (struct ps_request_span){parser->include_key_end, end};
        request->include_usage = type == VALUE_TRUE;
        request->options_invalid = type == VALUE_NUMBER || type == VALUE_STRING;
    }
    return 1;
}

static int on_text(struct ps_request_parser *parser, struct ps_str text)
{
    if (parser->in_media) {
        parser->request.media++;
        return 1;
    }
    if (!parser->in_role) {
        parser->request.input_bytes += text.len;
    }
    remember_prefix(parser, text, '\x1e');
    return 1;
}

static int on_prompt(struct ps_request_parser *parser, enum value_type type, struct ps_str text)
{
    struct ps_request *request = &parser->request;
    if (type == VALUE_NUMBER) {
        request->input_ids++;
        remember_prefix(parser, text, ',');
        return 1;
    }
    if (type != VALUE_STRING) {
        return 1;
    }
    request->inputs += parser->depth <= 2;
    return on_text(parser, text);
}

static void on_size(struct ps_request *request, struct ps_str text)
{
    size_t cross = ps_str_find(text, 'x');
    if (cross < text.len) {
        take_number(ps_str_first(text, cross), &request->image_width);
        take_number(ps_str_skip(text, cross + 1), &request->image_height);
    }
}

static void on_parameter(struct ps_request_parser *parser, enum value_type type, struct ps_str text)
{
    struct ps_request *request = &parser->request;
    bool number = type == VALUE_NUMBER;
    uint64_t tokens = 0;
    switch (parser->member) {
    case MEMBER_MAX_TOKENS:
        take_number(number ? text : PS_STR(""), &tokens);
        /* Old and new name may both be there: reserve for the larger. */
        request->max_tokens = tokens > request->max_tokens ? tokens : request->max_tokens;
        break;
    case MEMBER_N:
        take_number(number ? text : PS_STR(""), &request->n);
        break;
    case MEMBER_TEMPERATURE:
        request->has_temperature = number && ps_str_to_double(text, &request->temperature) == PS_OK;
        break;
    case MEMBER_SEED:
        request->has_seed = number;
        break;
    case MEMBER_SIZE:
        on_size(request, type == VALUE_STRING ? text : PS_STR(""));
        break;
    case MEMBER_WIDTH:
        take_number(number ? text : PS_STR(""), &request->image_width);
        break;
    case MEMBER_HEIGHT:
        take_number(number ? text : PS_STR(""), &request->image_height);
        break;
    case MEMBER_STEPS:
        take_number(number ? text : PS_STR(""), &request->image_steps);
        break;
    case MEMBER_OTHER:
    case MEMBER_MODEL:
    case MEMBER_STREAM:
    case MEMBER_STREAM_OPTIONS:
    case MEMBER_MESSAGES:
    case MEMBER_PROMPT:
    case MEMBER_INSTRUCTIONS:
    case MEMBER_TOOLS:
        break;
    }
}

static int on_member_value(struct ps_request_parser *parser, enum value_type type,
                           struct ps_str text)
{
    switch (parser->member) {
    case MEMBER_STREAM_OPTIONS:
        return on_options_scalar(parser, type);
    case MEMBER_PROMPT:
        return on_prompt(parser, type, text);
    case MEMBER_MESSAGES:
    case MEMBER_INSTRUCTIONS:
        return type == VALUE_STRING ? on_text(parser, text) : 1;
    default:
        break;
    }
    if (parser->depth != 1) {
        return 1;
    }
    if (parser->member == MEMBER_MODEL) {
        return on_model(parser, type, text);
    }
    if (parser->member == MEMBER_STREAM) {
        return on_stream(parser, type);
    }
    on_parameter(parser, type, text);
    return 1;
}

static int on_value(struct ps_request_parser *parser, enum value_type type, struct ps_str text)
{
    if (parser->depth == 0) {
        return refuse(parser, "the body must be a JSON object");
    }
    int go_on = on_member_value(parser, type, text);
    parser->in_include = false;
    parser->in_role = false;
    parser->in_media = false;
    return go_on;
}

static int on_null(void *ctx)
{
    return on_value(ctx, VALUE_NULL, PS_STR(""));
}

static int on_boolean(void *ctx, int yes)
{
    return on_value(ctx, yes ? VALUE_TRUE : VALUE_FALSE, PS_STR(""));
}

static int on_number(void *ctx, const char *text, size_t len)
{
    return on_value(ctx, VALUE_NUMBER, (struct ps_str){text, len});
}

static int on_string(void *ctx, const unsigned char *bytes, size_t len)
{
    return on_value(ctx, VALUE_STRING, (struct ps_str){(const char *)bytes, len});
}

/* ---------------------------------------------------------------- containers */

/* A container begins as the value of a top-level member, or as an item of its array. */
static int on_member_opens(struct ps_request_parser *parser, bool map)
{
    struct ps_request *request = &parser->request;
    if (parser->member == MEMBER_STREAM && parser->depth == 1) {
        return refuse(parser, "stream must be true or false");
    }
    if (parser->member == MEMBER_STREAM_OPTIONS) {
        bool odd = parser->depth == 1 ? !map : parser->in_include;
        request->options_invalid = request->options_invalid || odd;
        if (map && parser->depth == 1) {
            request->options_inside = ps_json_offset(parser->json);
            request->options_empty = true;
        }
    }
    if (parser->depth == 2 &&
        (parser->member == MEMBER_MESSAGES || parser->member == MEMBER_PROMPT)) {
        request->inputs++;
    }
    return 1;
}

static int on_open(struct ps_request_parser *parser, bool map)
{
    if (parser->depth == 0) {
        if (!map) {
            return refuse(parser, "the body must be a JSON object");
        }
        parser->request.top = ps_json_offset(parser->json);
    } else if (!on_member_opens(parser, map)) {
        return 0;
    }
    if (parser->depth == PS_REQUEST_DEPTH_MAX) {
        return refuse(parser, "nested too deeply");
    }
    parser->depth++;
    parser->in_include = false;
    parser->in_role = false;
    /* {"image_url": {"url": ...}}: the inner name says again that it is no text. */
    parser->in_media = false;
    return 1;
}

static int on_close(struct ps_request_parser *parser)
{
    struct ps_request *request = &parser->request;
    parser->depth--;
    if (parser->depth != 1) {
        return 1;
    }
    uint64_t end = ps_json_offset(parser->json);
    if (parser->member == MEMBER_STREAM_OPTIONS) {
        request->options_span = (struct ps_request_span){parser->key_end, end};
    } else if (parser->member == MEMBER_TOOLS) {
        request->input_bytes += end - parser->key_end;
    } else if (parser->member == MEMBER_PROMPT && request->inputs == 0 && request->input_ids > 0) {
        request->inputs = 1;
    }
    return 1;
}

static int on_start_map(void *ctx)
{
    return on_open(ctx, true);
}

static int on_start_array(void *ctx)
{
    return on_open(ctx, false);
}

static int on_end(void *ctx)
{
    return on_close(ctx);
}

static const yajl_callbacks calls = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_name,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

/* ---------------------------------------------------------------- the parser */

int ps_request_parser_new(struct ps_request_parser **out, enum ps_request_kind kind,
                          struct ps_budget *budget)
{
    struct ps_request_parser *parser = malloc(sizeof *parser);
    if (parser == NULL) {
        return PS_ENOMEM;
    }
    memset(parser, 0, offsetof(struct ps_request_parser, prefix));
    parser->request.kind = kind;
    parser->request.n = 1;
    int err = ps_json_new(&parser->json, &calls, parser, budget);
    if (err != PS_OK) {
        ps_request_parser_free(parser);
        return err;
    }
    *out = parser;
    return PS_OK;
}

void ps_request_parser_free(struct ps_request_parser *parser)
{
    if (parser != NULL) {
        ps_json_free(parser->json);
        free(parser);
    }
}

int ps_request_parser_feed(struct ps_request_parser *parser, struct ps_str bytes)
{
    parser->request.body_bytes += bytes.len;
    int err = ps_json_feed(parser->json, bytes);
    return err == PS_ECANCELED ? PS_EPARSE : err;
}

int ps_request_parser_end(struct ps_request_parser *parser)
{
    struct ps_request *request = &parser->request;
    if (parser->ended) {
        return PS_OK;
    }
    int err = ps_json_end(parser->json);
    if (err != PS_OK) {
        return err == PS_ECANCELED ? PS_EPARSE : err;
    }
    ps_json_free(parser->json); /* the description outlives the parse by the whole answer */
    parser->json = NULL;
    if (parser->prefix_len > 0) {
        struct ps_str model = {request->model, request->model_len};
        struct ps_str prefix = {parser->prefix, parser->prefix_len};
        uint64_t hash = ps_str_hash(prefix, ps_str_hash(model, 0));
        request->prefix_hash = hash == 0 ? 1 : hash;
    }
    parser->ended = true;
    return PS_OK;
}

const struct ps_request *ps_request_parser_get(const struct ps_request_parser *parser)
{
    return &parser->request;
}

struct ps_request_error ps_request_parser_error(const struct ps_request_parser *parser)
{
    return (struct ps_request_error){
        ps_json_offset(parser->json),
        parser->refused != NULL ? parser->refused : ps_json_reason(parser->json),
    };
}
