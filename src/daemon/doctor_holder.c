/* Who listens on a port: the socket in /proc/net/tcp*, then the process that has it open. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/doctor_check.h"
#include "daemon/doctor_file.h"
#include "daemon/doctor_text.h"

#define TABLE_LIMIT ((size_t)32 * 1024 * 1024)

enum { MOST_DESCRIPTORS = 1000000 /* looked at, of all processes together */ };

/* The best match in one table: the same address goes before every address. */
static void search_table(const char *path, const struct ps_address *address,
                         struct ps_doctor_socket *best, bool *found)
{
    struct ps_buf text = ps_buf_make(TABLE_LIMIT);
    struct ps_doctor_socket socket;
    if (ps_doctor_file_all(path, &text) == PS_OK) {
        struct ps_str rest = ps_buf_str(&text);
        while (ps_doctor_next_socket(&rest, &socket)) {
            bool exact = ps_address_eq(address, &socket.at);
            if (exact || (!*found && ps_doctor_collides(address, &socket.at))) {
                *best = socket;
                *found = true;
            }
        }
    }
    ps_buf_fini(&text);
}

static bool is_number(const char *name)
{
    return *name != '\0' && strspn(name, "0123456789") == strlen(name);
}

/* Does this process hold the socket open? *left counts down what may still be looked at. */
static bool has_open(const char *pid, const char *link, size_t *left)
{
    char path[320];
    char target[64];
    bool found = false;
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    for (const struct dirent *entry;
         dir != NULL && !found && *left > 0 && (entry = readdir(dir)) != NULL; (*left)--) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%s", pid, entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        found = strcmp(target, link) == 0;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return found;
}

static void read_name(struct ps_doctor_holder *holder)
{
    char path[64];
    char text[sizeof holder->name - 1];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)holder->pid);
    struct ps_str name = ps_doctor_file(path, text, sizeof text);
    name = ps_str_first(name, ps_str_find(name, '\n'));
    for (size_t i = 0; i < name.len; i++) {
        holder->name[i] = isprint((unsigned char)name.ptr[i]) ? name.ptr[i] : '?';
    }
}

static void search_processes(uint64_t inode, struct ps_doctor_holder *out)
{
    char link[64];
    size_t left = MOST_DESCRIPTORS;
    snprintf(link, sizeof link, "socket:[%ju]", (uintmax_t)inode);
    DIR *dir = opendir("/proc");
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (is_number(entry->d_name) && has_open(entry->d_name, link, &left)) {
            out->pid = (pid_t)strtol(entry->d_name, NULL, 10);
            read_name(out);
            break;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

void ps_doctor_find_holder(const struct ps_address *address, struct ps_doctor_holder *out)
{
    struct ps_doctor_socket socket = {.inode = 0};
    *out = (struct ps_doctor_holder){0};
    search_table("/proc/net/tcp", address, &socket, &out->found);
    search_table("/proc/net/tcp6", address, &socket, &out->found);
    if (out->found) {
        out->uid = socket.uid;
        search_processes(socket.inode, out);
    }
}
