/* owner - see owner.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "gpu/owner.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gpu/file.h"

#define TEXT_MAX        8192
#define ID_DIGITS       (PS_OWNER_CONTAINER - 1)
#define FIELDS_TO_START 20 /* of /proc/PID/stat, behind the name */
#define PARENT_FIELD    1
#define KERNEL_THREADS  "2 (kthreadd) " /* how /proc/2/stat of a host begins */

/* The first name space of a machine has always this number (PROC_PID_INIT_INO of Linux). */
static const char host_space[] = "pid:[4026531836]";

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* Only the first name space has the thread of which the kernel's are born. */
static bool has_kernel_threads(const char *root)
{
    char text[TEXT_MAX];
    struct ps_str all;
    return ps_file_read(root, "proc/2/stat", text, sizeof text, &all) == PS_OK &&
           ps_str_starts_with(all, PS_STR(KERNEL_THREADS));
}

/* Where nobody says, they are. A mounted /proc may be of another name space than the reader is. */
bool ps_owner_sees_host(const char *root)
{
    char path[PATH_MAX];
    char space[sizeof host_space + 16];
    int len = snprintf(path, sizeof path, "%s/proc/self/ns/pid", root);
    if (len < 0 || (size_t)len >= sizeof path) {
        return false;
    }
    ssize_t got = readlink(path, space, sizeof space);
    return got < 0 ||
           ((size_t)got == sizeof host_space - 1 && memcmp(space, host_space, (size_t)got) == 0) ||
           (root[0] != '\0' && has_kernel_threads(root));
}

/* The name stands in parentheses and may hold any byte, parentheses too: the last one closes. */
int ps_owner_parse_stat(struct ps_str text, struct ps_owner *out)
{
    size_t open = ps_str_find(text, '(');
    size_t close = text.len;
    while (close > open && text.ptr[close - 1] != ')') {
        close--;
    }
    if (open == text.len || close <= open + 1) {
        return PS_EPARSE;
    }
    struct ps_str name = {text.ptr + open + 1, close - 1 - (open + 1)};
    struct ps_str rest = ps_str_trim(ps_str_skip(text, close));
    struct ps_str field = {0};
    uint64_t parent = 0;
    uint64_t started = 0;
    for (int i = 0; i < FIELDS_TO_START; i++) {
        if (!ps_str_split(&rest, ' ', &field) ||
            (i == PARENT_FIELD && ps_str_to_u64(field, &parent) != PS_OK)) {
            return PS_EPARSE;
        }
    }
    if (name.len >= sizeof out->name || ps_str_to_u64(field, &started) != PS_OK ||
        parent > UINT32_MAX) {
        return PS_EPARSE;
    }
    out->parent = (uint32_t)parent;
    out->started = started;
    memset(out->name, 0, sizeof out->name);
    memcpy(out->name, name.ptr, name.len);
    return PS_OK;
}

/* A run of exactly 64 digits, with nothing like a digit or letter beside it. */
static size_t hex_run(struct ps_str text)
{
    size_t len = 0;
    while (len < text.len && is_hex(text.ptr[len])) {
        len++;
    }
    return len;
}

bool ps_owner_parse_cgroup(struct ps_str text, char out[PS_OWNER_CONTAINER])
{
    memset(out, 0, PS_OWNER_CONTAINER);
    for (size_t i = 0; i < text.len;) {
        size_t len = hex_run(ps_str_skip(text, i));
        bool apart =
            i == 0 || text.ptr[i - 1] == '/' || text.ptr[i - 1] == '-' || text.ptr[i - 1] == ':';
        bool ends = i + len == text.len || text.ptr[i + len] == '\n' || text.ptr[i + len] == '.' ||
                    text.ptr[i + len] == '/';
        if (len == ID_DIGITS && apart && ends) {
            memcpy(out, text.ptr + i, ID_DIGITS);
            return true;
        }
        i += len > 0 ? len : 1;
    }
    return false;
}

/* "user@1000.service" holds all that somebody runs, so it is no service. */
static bool is_service(struct ps_str part)
{
    return ps_str_ends_with(part, PS_STR(".service")) && !ps_str_starts_with(part, PS_STR("user@"));
}

/* The path of a line up to the innermost service in it; empty: it has none. */
static struct ps_str service_of(struct ps_str line)
{
    struct ps_str path = ps_str_skip(line, ps_str_find(line, '/'));
    struct ps_str rest = path;
    struct ps_str part;
    struct ps_str service = {"", 0};
    while (ps_str_split(&rest, '/', &part)) {
        if (is_service(part)) {
            service = (struct ps_str){path.ptr, (size_t)(part.ptr + part.len - path.ptr)};
        }
    }
    return service;
}

bool ps_owner_parse_group(struct ps_str text, char out[PS_OWNER_GROUP])
{
    struct ps_str line;
    struct ps_str service = {"", 0};
    memset(out, 0, PS_OWNER_GROUP);
    if (ps_owner_parse_cgroup(text, out)) {
        return true;
    }
    while (service.len == 0 && ps_str_split(&text, '\n', &line)) {
        service = service_of(line);
    }
    if (service.len >= PS_OWNER_GROUP) {
        service = ps_str_skip(service, service.len - (PS_OWNER_GROUP - 1));
    }
    memcpy(out, service.ptr, service.len);
    return out[0] != '\0';
}

static int read_part(const char *root, uint32_t pid, const char *part, char *text,
                     struct ps_str *all)
{
    char path[64];
    (void)snprintf(path, sizeof path, "proc/%u/%s", pid, part);
    return ps_file_read(root, path, text, TEXT_MAX, all);
}

int ps_owner_read(const char *root, uint32_t pid, struct ps_owner *out)
{
    char text[TEXT_MAX];
    struct ps_str all;
    struct ps_owner owner = {0};
    if (!ps_owner_sees_host(root)) {
        return PS_ENOTFOUND;
    }
    int err = read_part(root, pid, "stat", text, &all);
    err = err == PS_OK ? ps_owner_parse_stat(all, &owner) : err;
    if (err != PS_OK) {
        return err;
    }
    if (read_part(root, pid, "cgroup", text, &all) == PS_OK) {
        (void)ps_owner_parse_cgroup(all, owner.container);
    }
    *out = owner;
    return PS_OK;
}
