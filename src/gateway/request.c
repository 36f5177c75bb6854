#include "gateway/request.h"

#include <stdlib.h>

#include "base/check.h"
#include "gateway/json.h"
#include "gateway/member.h"

enum value_type { VALUE_NULL, VALUE_TRUE, VALUE_FALSE, VALUE_NUMBER, VALUE_STRING };

struct ps_request_parser {
    struct ps_request request;
    struct ps_json *json;
    const char *refused; /* why a callback stopped the parse */
    uint64_t key_end;    /* behind the last top-level name */
    uint64_t include_key_end;
    uint64_t inner_key_end; /* behind the last name inside the parameters */
    uint64_t batch;         /* multiplies n */
    uint32_t seen;          /* bit per known member */
    uint32_t depth;         /* open containers */
    uint32_t media_depth;   /* of the list of media that is open; 0 = none */
    enum ps_member_means member;
    enum ps_member_means inner; /* of the last name inside the parameters */
    bool in_include;            /* the value of stream_options.include_usage comes next */
    bool in_role;               /* the value of a message's role comes next */
    bool in_media;              /* the value of a member that is no text comes next */
    bool in_shape;              /* the dimensions of a tensor come next */
    bool in_data;               /* its elements */
    bool always_streams;
    bool ended;
    size_t prefix_len;
    char prefix[PS_REQUEST_PREFIX_MAX]; /* the last member: not zeroed at the start */
};

/* ---------------------------------------------------------------- small things */

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

static bool is_openai(const struct ps_request_parser *parser)
{
    return parser->request.dialect == PS_DIALECT_OPENAI;
}

/* Is this the level of the body whose names the grammar calls inner? */
static bool is_inside(const struct ps_request_parser *parser)
{
    return (parser->member == PS_MEMBER_PARAMETERS && parser->depth == 2) ||
           (parser->member == PS_MEMBER_GRAPH && parser->depth == 4);
}

static int on_top_name(struct ps_request_parser *parser, struct ps_str name)
{
    uint32_t bit = 0;
    const struct ps_member *known = ps_member_find(parser->request.dialect, false, name, &bit);
    parser->key_end = ps_json_offset(parser->json);
    parser->member = PS_MEMBER_OTHER;
    if (known == NULL) {
        return 1;
    }
    if ((parser->seen & bit) != 0) {
        parser->request.duplicate_members = true;
        if (known->guarded) {
            return refuse(parser, is_openai(parser)
                                      ? "model, stream or stream_options is given twice"
                                      : "a member is given twice that servers read differently");
        }
    }
    parser->seen |= bit;
    if (!ps_str_eq(known->name, name)) {
        return refuse(parser, is_openai(parser)
                                  ? "model, stream and stream_options are in lower case"
                                  : "a member is not in lower case that servers read anyway");
    }
    parser->member = known->means;
    return 1;
}

static int on_inner_name(struct ps_request_parser *parser, struct ps_str name)
{
    uint32_t bit = 0;
    const struct ps_member *known = ps_member_find(parser->request.dialect, true, name, &bit);
    parser->inner_key_end = ps_json_offset(parser->json);
    parser->inner = known == NULL ? PS_MEMBER_OTHER : known->means;
    if (parser->inner == PS_MEMBER_MODEL && parser->request.model_span.end != 0) {
        return refuse(parser, "the model is given twice");
    }
    return 1;
}

static int on_tensor_name(struct ps_request_parser *parser, struct ps_str name)
{
    parser->in_shape = ps_str_eq(name, PS_STR("shape"));
    parser->in_data = ps_str_eq(name, PS_STR("data"));
    return 1;
}

static bool is_media_name(struct ps_str name)
{
    return ps_str_eq(name, PS_STR("url")) || ps_str_eq(name, PS_STR("image_url")) ||
           ps_str_eq(name, PS_STR("data")) || ps_str_eq(name, PS_STR("file_data")) ||
           ps_str_eq(name, PS_STR("images"));
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
    if (parser->member == PS_MEMBER_STREAM_OPTIONS && parser->depth == 2) {
        return on_options_name(parser, name);
    }
    if (is_inside(parser)) {
        return on_inner_name(parser, name);
    }
    if (parser->member == PS_MEMBER_TENSORS && parser->depth == 3) {
        return on_tensor_name(parser, name);
    }
    parser->in_role = ps_str_eq(name, PS_STR("role"));
    parser->in_media = is_media_name(name);
    return 1;
}

/* ---------------------------------------------------------------- values */

/* 0: refused. */
static int take_model(struct ps_request_parser *parser, struct ps_str name)
{
    struct ps_request *request = &parser->request;
    if (name.len > PS_REQUEST_MODEL_MAX) {
        return refuse(parser, "the model's name is too long");
    }
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == 0x7f) {
            return refuse(parser, "control character in the model's name");
        }
    }
    memcpy(request->model, name.ptr, name.len);
    request->model[name.len] = '\0';
    request->model_len = name.len;
    return 1;
}

static int on_model(struct ps_request_parser *parser, enum value_type type, struct ps_str text)
{
    struct ps_request *request = &parser->request;
    if (type != VALUE_STRING) {
        return 1; /* the upstream will say what it thinks of that */
    }
    if (!take_model(parser, text)) {
        return 0;
    }
    uint64_t start = parser->depth == 1 ? parser->key_end : parser->inner_key_end;
    request->model_span = (struct ps_request_span){start, ps_json_offset(parser->json)};
    return 1;
}

static int on_stream(struct ps_request_parser *parser, enum value_type type)
{
    /* Lenient servers take "true" or 1 for yes: what they would do must not be a guess. */
    if (type == VALUE_NUMBER || type == VALUE_STRING) {
        return refuse(parser, "stream must be true or false");
    }
    if (type != VALUE_NULL) { /* which stands for the default */
        parser->request.stream = type == VALUE_TRUE;
    }
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
    if (parser->in_media || parser->media_depth > 0) {
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

/* What numbers of a graph mean: the largest picture, the steps of all samplers. */
static void take_graph_number(struct ps_request *request, enum ps_member_means means,
                              uint64_t value)
{
    if (means == PS_MEMBER_WIDTH && value > request->image_width) {
        request->image_width = value;
    } else if (means == PS_MEMBER_HEIGHT && value > request->image_height) {
        request->image_height = value;
    } else if (means == PS_MEMBER_STEPS && request->image_steps < UINT32_MAX) {
        request->image_steps += value < UINT32_MAX ? value : UINT32_MAX;
    }
}

static void on_measure(struct ps_request_parser *parser, enum ps_member_means means,
                       struct ps_str text)
{
    struct ps_request *request = &parser->request;
    uint64_t value = 0;
    if (parser->member == PS_MEMBER_GRAPH) {
        take_number(text, &value);
        take_graph_number(request, means, value);
    } else {
        take_number(text, means == PS_MEMBER_WIDTH    ? &request->image_width
                          : means == PS_MEMBER_HEIGHT ? &request->image_height
                                                      : &request->image_steps);
    }
}

/* Minus one means a new one each time, but for OpenAI's servers. */
static bool is_seed(const struct ps_request_parser *parser, struct ps_str text)
{
    return text.len > 0 && (is_openai(parser) || text.ptr[0] != '-');
}

/* Numbers and texts that stand alone; `text` is empty where the type is not what it should be. */
static void on_parameter(struct ps_request_parser *parser, enum ps_member_means means,
                         struct ps_str number, struct ps_str text)
{
    struct ps_request *request = &parser->request;
    uint64_t tokens = 0;
    switch (means) {
    case PS_MEMBER_MAX_TOKENS:
        take_number(number, &tokens);
        /* Old and new name may both be there: reserve for the larger. */
        request->max_tokens = tokens > request->max_tokens ? tokens : request->max_tokens;
        break;
    case PS_MEMBER_N:
        take_number(number, &request->n);
        break;
    case PS_MEMBER_BATCH:
        take_number(number, &parser->batch);
        break;
    case PS_MEMBER_TEMPERATURE:
        request->has_temperature = ps_str_to_double(number, &request->temperature) == PS_OK;
        break;
    case PS_MEMBER_SEED:
        request->has_seed = is_seed(parser, number);
        break;
    case PS_MEMBER_SIZE:
        on_size(request, text);
        break;
    case PS_MEMBER_WIDTH:
    case PS_MEMBER_HEIGHT:
    case PS_MEMBER_STEPS:
        on_measure(parser, means, number);
        break;
    case PS_MEMBER_CLIENT:
        request->client = ps_sticky_key(PS_STICKY_KEY_CLIENT, text);
        break;
    case PS_MEMBER_FILE:
        request->file = ps_sticky_key_file(PS_STR("input"), PS_STR(""), text);
        break;
    default:
        break;
    }
}

static int on_tensor(struct ps_request_parser *parser, enum value_type type, struct ps_str text)
{
    if (parser->in_shape && type == VALUE_NUMBER) {
        uint64_t batch = 0;
        parser->in_shape = false; /* the first dimension is what is asked for */
        take_number(text, &batch);
        parser->request.inputs = batch > parser->request.inputs ? batch : parser->request.inputs;
    } else if (parser->in_data && type == VALUE_STRING) {
        return on_text(parser, text);
    }
    return 1;
}

/* The first of the ids: a call is for one server. */
static int on_job(struct ps_request_parser *parser, enum value_type type, struct ps_str text)
{
    if (type == VALUE_STRING && !ps_sticky_key_is_set(parser->request.job)) {
        parser->request.job = ps_sticky_key(PS_STICKY_KEY_JOB, text);
    }
    return 1;
}

static int on_alone(struct ps_request_parser *parser, enum ps_member_means means,
                    enum value_type type, struct ps_str text)
{
    if (means == PS_MEMBER_MODEL) {
        return on_model(parser, type, text);
    }
    if (means == PS_MEMBER_STREAM) {
        return on_stream(parser, type);
    }
    if (means == PS_MEMBER_STORE) {
        parser->request.store = type == VALUE_TRUE;
        return 1;
    }
    on_parameter(parser, means, type == VALUE_NUMBER ? text : PS_STR(""),
                 type == VALUE_STRING ? text : PS_STR(""));
    return 1;
}

static int on_member_value(struct ps_request_parser *parser, enum value_type type,
                           struct ps_str text)
{
    bool inside = is_inside(parser);
    enum ps_member_means means = inside ? parser->inner : parser->member;
    switch (means) {
    case PS_MEMBER_STREAM_OPTIONS:
        return on_options_scalar(parser, type);
    case PS_MEMBER_PROMPT:
        return on_prompt(parser, type, text);
    case PS_MEMBER_MESSAGES:
    case PS_MEMBER_INSTRUCTIONS:
        return type == VALUE_STRING ? on_text(parser, text) : 1;
    case PS_MEMBER_MEDIA:
        parser->request.media += type == VALUE_STRING;
        return 1;
    case PS_MEMBER_TENSORS:
        return on_tensor(parser, type, text);
    case PS_MEMBER_JOBS:
        return on_job(parser, type, text);
    default:
        return parser->depth == 1 || inside ? on_alone(parser, means, type, text) : 1;
    }
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
    if (parser->member == PS_MEMBER_STREAM && parser->depth == 1) {
        return refuse(parser, "stream must be true or false");
    }
    if (parser->member == PS_MEMBER_STREAM_OPTIONS) {
        bool odd = parser->depth == 1 ? !map : parser->in_include;
        request->options_invalid = request->options_invalid || odd;
        if (map && parser->depth == 1) {
            request->options_inside = ps_json_offset(parser->json);
            request->options_empty = true;
        }
    }
    if (parser->depth == 2 &&
        (parser->member == PS_MEMBER_MESSAGES || parser->member == PS_MEMBER_PROMPT)) {
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
    if (parser->in_media && !map && parser->media_depth == 0) {
        parser->media_depth = parser->depth;
    }
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
    if (parser->depth < parser->media_depth) {
        parser->media_depth = 0;
    }
    if (parser->depth != 1) {
        return 1;
    }
    uint64_t end = ps_json_offset(parser->json);
    if (parser->member == PS_MEMBER_STREAM_OPTIONS) {
        request->options_span = (struct ps_request_span){parser->key_end, end};
    } else if (parser->member == PS_MEMBER_TOOLS) {
        request->input_bytes += end - parser->key_end;
    } else if (parser->member == PS_MEMBER_PROMPT && request->inputs == 0 &&
               request->input_ids > 0) {
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

int ps_request_parser_new(struct ps_request_parser **out, const struct ps_operation *operation,
                          struct ps_budget *budget)
{
    struct ps_request_parser *parser = malloc(sizeof *parser);
    if (parser == NULL) {
        return PS_ENOMEM;
    }
    memset(parser, 0, offsetof(struct ps_request_parser, prefix));
    parser->request.dialect = operation->dialect;
    parser->request.kind = operation->kind;
    parser->request.n = 1;
    parser->batch = 1;
    parser->always_streams = (operation->flags & PS_OPERATION_STREAM) != 0;
    parser->request.stream = parser->always_streams || (operation->dialect == PS_DIALECT_OLLAMA &&
                                                        ps_request_generates(operation->kind));
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

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* Undoes percent-encoding into out[PS_REQUEST_MODEL_MAX + 1], whose last byte is one too many. */
static struct ps_str decode(struct ps_str text, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len && len <= PS_REQUEST_MODEL_MAX; i++) {
        bool coded = text.ptr[i] == '%' && text.len - i > 2 && hex_digit(text.ptr[i + 1]) >= 0 &&
                     hex_digit(text.ptr[i + 2]) >= 0;
        out[len++] = coded ? (char)(hex_digit(text.ptr[i + 1]) * 16 + hex_digit(text.ptr[i + 2]))
                           : text.ptr[i];
        i += coded ? 2 : 0;
    }
    return (struct ps_str){out, len};
}

int ps_request_parser_path(struct ps_request_parser *parser, struct ps_str path)
{
    static const struct ps_str before = PS_STR_INIT("/v2/models/");
    char name[PS_REQUEST_MODEL_MAX + 1];
    struct ps_str rest = ps_str_skip(path, before.len);
    struct ps_str segment = ps_str_first(rest, ps_str_find(rest, '/'));
    if (!ps_str_starts_with(path, before)) {
        return PS_OK;
    }
    parser->request.path_model = (struct ps_request_span){before.len, before.len + segment.len};
    return take_model(parser, decode(segment, name)) ? PS_OK : PS_EPARSE;
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
    request->stream = request->stream || parser->always_streams;
    if (parser->batch > 1 && request->n <= UINT32_MAX && parser->batch <= UINT32_MAX) {
        request->n *= parser->batch;
    }
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
