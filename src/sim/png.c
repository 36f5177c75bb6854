#include "sim/png.h"

#include <string.h>
#include <zlib.h>

#include "base/check.h"
#include "base/rng.h"

#define TILE    32u
#define COLOURS 16u

static void put_u32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (unsigned char)(value >> (24 - 8 * i));
    }
}

/* length, type, data, CRC of type and data (11.2, 5.3) */
static int append_part(struct ps_buf *out, const char *type, const unsigned char *data, size_t len)
{
    unsigned char word[4];
    put_u32(word, (uint32_t)len);
    int err = ps_buf_append(out, word, 4);
    size_t begin = out->len;
    err = err == PS_OK ? ps_buf_append(out, type, 4) : err;
    err = err == PS_OK && len > 0 ? ps_buf_append(out, data, len) : err;
    if (err == PS_OK) {
        const unsigned char *covered = (const unsigned char *)out->data + begin;
        put_u32(word, (uint32_t)crc32(0, covered, (uInt)(len + 4)));
        err = ps_buf_append(out, word, 4);
    }
    return err;
}

/* One line: a filter byte (none), then two pixels a byte. Lines of the same tile row are equal. */
static size_t fill_line(unsigned char *line, uint32_t width, uint32_t tile_row, uint64_t seed)
{
    size_t len = (width + 1) / 2;
    line[0] = 0;
    for (uint32_t left = 0; left < width; left += TILE) {
        struct ps_rng rng = ps_rng_make(seed ^ ((uint64_t)tile_row << 32 | left));
        unsigned colour = (unsigned)ps_rng_below(&rng, COLOURS);
        size_t end = (left + TILE) / 2 < len ? (left + TILE) / 2 : len;
        memset(line + 1 + left / 2, (int)(colour << 4 | colour), end - left / 2);
    }
    return len + 1;
}

/* Lets zlib write what it has into the buffer. */
static int deflate_into(z_stream *z, struct ps_buf *out, int flush)
{
    int status = Z_OK;
    do {
        int err = ps_buf_reserve(out, 4096);
        if (err != PS_OK) {
            return err;
        }
        z->next_out = (unsigned char *)out->data + out->len;
        z->avail_out = 4096;
        status = deflate(z, flush);
        out->len += 4096 - z->avail_out;
    } while (z->avail_out == 0 && status == Z_OK);
    return status == Z_STREAM_ERROR ? PS_ENOMEM : PS_OK;
}

static int pack_lines(struct ps_buf *out, uint32_t width, uint32_t height, uint64_t seed)
{
    unsigned char line[PS_SIM_LONGEST_SIDE / 2 + 2];
    z_stream z = {0};
    if (deflateInit(&z, 1) != Z_OK) {
        return PS_ENOMEM;
    }
    int err = PS_OK;
    for (uint32_t y = 0; y < height && err == PS_OK; y++) {
        z.next_in = line;
        z.avail_in = (uInt)fill_line(line, width, y / TILE, seed);
        err = deflate_into(&z, out, y + 1 == height ? Z_FINISH : Z_NO_FLUSH);
    }
    deflateEnd(&z);
    return err;
}

static int append_palette(struct ps_buf *out, uint64_t seed)
{
    unsigned char colours[COLOURS * 3];
    struct ps_rng rng = ps_rng_make(seed);
    for (size_t i = 0; i < sizeof colours; i++) {
        colours[i] = (unsigned char)ps_rng_next(&rng);
    }
    return append_part(out, "PLTE", colours, sizeof colours);
}

static int append_header(struct ps_buf *out, uint32_t width, uint32_t height)
{
    unsigned char header[13] = {0};
    put_u32(header, width);
    put_u32(header + 4, height);
    header[8] = 4; /* bits a pixel */
    header[9] = 3; /* palette */
    int err = ps_buf_append(out, "\x89PNG\r\n\x1a\n", 8);
    return err == PS_OK ? append_part(out, "IHDR", header, sizeof header) : err;
}

int ps_sim_png(struct ps_buf *out, uint32_t width, uint32_t height, uint64_t seed)
{
    PS_CHECK(width > 0 && height > 0 && width <= PS_SIM_LONGEST_SIDE &&
             height <= PS_SIM_LONGEST_SIDE);
    static const char note[] = "Comment\0simulated: true";
    struct ps_buf packed = ps_buf_make(16u << 20);
    int err = pack_lines(&packed, width, height, seed);
    err = err == PS_OK ? append_header(out, width, height) : err;
    err = err == PS_OK ? append_palette(out, seed) : err;
    err =
        err == PS_OK ? append_part(out, "tEXt", (const unsigned char *)note, sizeof note - 1) : err;
    err = err == PS_OK ? append_part(out, "IDAT", (unsigned char *)packed.data, packed.len) : err;
    err = err == PS_OK ? append_part(out, "IEND", NULL, 0) : err;
    ps_buf_fini(&packed);
    return err;
}
