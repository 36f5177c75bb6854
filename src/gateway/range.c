#include "gateway/range.h"

#include <inttypes.h>

#include "gateway/validator.h"

/* A number too large for us is behind the end of every body. */
static int read_position(struct ps_str text, uint64_t *out)
{
    int err = ps_str_to_u64(text, out);
    if (err == PS_ELIMIT) {
        *out = UINT64_MAX;
    }
    return err == PS_EPARSE ? PS_EPARSE : PS_OK;
}

static int read_suffix(struct ps_str text, uint64_t length, struct ps_range *out)
{
    uint64_t wanted;
    if (read_position(text, &wanted) != PS_OK) {
        return PS_EPARSE;
    }
    if (wanted == 0 || length == 0) {
        return PS_EINVAL;
    }
    *out = (struct ps_range){length - (wanted < length ? wanted : length), length - 1};
    return PS_OK;
}

int ps_range_parse(struct ps_str value, uint64_t length, struct ps_range *out)
{
    uint64_t first;
    uint64_t last = UINT64_MAX;
    if (!ps_str_istarts_with(value, PS_STR("bytes="))) {
        return PS_EPARSE;
    }
    struct ps_str rest = ps_str_trim(ps_str_skip(value, 6));
    struct ps_str from;
    if (!ps_str_split(&rest, '-', &from) || rest.ptr == NULL) {
        return PS_EPARSE;
    }
    if (from.len == 0) {
        return read_suffix(rest, length, out);
    }
    if (read_position(from, &first) != PS_OK ||
        (rest.len > 0 && read_position(rest, &last) != PS_OK) || last < first) {
        return PS_EPARSE;
    }
    if (first >= length) {
        return PS_EINVAL;
    }
    *out = (struct ps_range){first, last < length ? last : length - 1};
    return PS_OK;
}

bool ps_range_is_allowed(const struct ps_h1_head *request, const struct ps_h1_head *answer)
{
    const struct ps_h1_header *condition = ps_h1_head_find_name(request, PS_STR("If-Range"));
    const struct ps_h1_header *etag = ps_h1_head_find(answer, PS_H1_ETAG);
    if (condition == NULL) {
        return true;
    }
    return etag != NULL && ps_str_starts_with(etag->value, PS_STR("\"")) &&
           ps_validator_is_etag(etag->value) && ps_str_eq(condition->value, etag->value);
}

int ps_range_write(struct ps_buf *out, const struct ps_range *range, uint64_t length)
{
    return ps_buf_printf(out, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n",
                         range->first, range->last, length);
}
