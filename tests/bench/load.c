/* load - the load client's options, its request and the processor time that it watches.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "load.h"

#include "bench.h"

#include <dirent.h>
#include <getopt.h>
#include <unistd.h>

double bench_load_process_ns(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *dir = opendir(path);
    double sum = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s/schedstat", path, entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(name, "r") : NULL;
        char line[128];
        if (file != NULL && fgets(line, sizeof line, file) != NULL) {
            sum += strtod(line, NULL);
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return sum;
}

double bench_load_watched_ns(const struct bench_load *load)
{
    double sum = 0;
    for (int i = 0; i < load->watched; i++) {
        sum += bench_load_process_ns(load->watch[i]);
    }
    return sum;
}

static const char question[] = "Question 0000000000. ";

/* A chat request of about the size asked for, with the escapes that real prompts have. */
static char *make_chat_body(const struct bench_load *load)
{
    static const char words[] = "Summarise the following notes, \\\"as they are\\\", in one "
                                "paragraph.\\nKeep names, dates and figures.\\n\\n";
    size_t size = load->body_size;
    char *body = malloc(size + 512);
    if (body == NULL) {
        bench_die("body");
    }
    int n = sprintf(body,
                    "{\"model\":\"bench\",\"stream\":%s,\"max_tokens\":256,\"temperature\":0.7,"
                    "\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful "
                    "assistant.\"},{\"role\":\"user\",\"content\":\"%s",
                    load->stream ? "true" : "false", question);
    size_t at = (size_t)n;
    while (at + 4 < size) {
        /* Whole phrases only, so that no escape is cut. */
        size_t len = sizeof words - 1;
        if (at + len + 4 > size) {
            body[at++] = '.';
            continue;
        }
        memcpy(body + at, words, len);
        at += len;
    }
    memcpy(body + at, "\"}]}", 5);
    return body;
}

char *bench_load_request(const struct bench_load *load, size_t *len, char **digits)
{
    char *body = load->body_size > 0 ? make_chat_body(load) : NULL;
    size_t body_len = body != NULL ? strlen(body) : 0;
    char *request = malloc(body_len + 2048);
    if (request == NULL) {
        bench_die("request");
    }
    int n = sprintf(request, "%.16s %.512s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: bench\r\n",
                    load->method, load->path, load->port);
    if (load->extra != NULL) {
        n += sprintf(request + n, "%.512s\r\n", load->extra);
    }
    if (body != NULL) {
        n += sprintf(request + n, "content-type: application/json\r\ncontent-length: %zu\r\n",
                     body_len);
    }
    n += sprintf(request + n, "\r\n");
    memcpy(request + n, body != NULL ? body : "", body_len);
    *len = (size_t)n + body_len;
    request[*len] = '\0';
    char *at = strstr(request, question);
    *digits = at == NULL ? NULL : at + strcspn(question, "0");
    free(body);
    return request;
}

static const struct option long_options[] = {
    {"port", required_argument, NULL, 'p'},
    {"path", required_argument, NULL, 'u'},
    {"method", required_argument, NULL, 'm'},
    {"header", required_argument, NULL, 'H'},
    {"conns", required_argument, NULL, 'c'},
    {"seconds", required_argument, NULL, 't'},
    {"warmup", required_argument, NULL, 'w'},
    {"ramp", required_argument, NULL, 'R'},
    {"drain", required_argument, NULL, 'd'},
    {"rate", required_argument, NULL, 'r'},
    {"body", required_argument, NULL, 'b'},
    {"reuse", required_argument, NULL, 'k'},
    {"watch", required_argument, NULL, 'W'},
    {"stream", no_argument, NULL, 's'},
    {"trace", required_argument, NULL, 'T'},
    {"requests", required_argument, NULL, 'n'},
    {NULL, 0, NULL, 0},
};

static void add_watch(struct bench_load *load, char *list)
{
    for (char *pid = strtok(list, ","); pid != NULL; pid = strtok(NULL, ",")) {
        if (load->watched < BENCH_WATCH_MAX) {
            load->watch[load->watched++] = atoi(pid);
        }
    }
}

static bool read_option(struct bench_load *load, int name)
{
    switch (name) {
    case 'p':
        load->port = atoi(optarg);
        return true;
    case 'u':
        load->path = optarg;
        return true;
    case 'm':
        load->method = optarg;
        return true;
    case 'H':
        load->extra = optarg;
        return true;
    case 'c':
        load->conns = (unsigned)atoi(optarg);
        return true;
    case 't':
        load->seconds = atof(optarg);
        return true;
    case 'w':
        load->warmup = atof(optarg);
        return true;
    case 'R':
        load->ramp = atof(optarg);
        return true;
    case 'd':
        load->drain = atof(optarg);
        return true;
    case 'r':
        load->rate = atof(optarg);
        return true;
    case 'b':
        load->body_size = (size_t)atol(optarg);
        return true;
    case 'k':
        load->reuse = (unsigned)atoi(optarg);
        return true;
    case 'W':
        add_watch(load, optarg);
        return true;
    case 's':
        load->stream = true;
        return true;
    case 'n':
        load->requests = (size_t)atol(optarg);
        return true;
    case 'T':
        load->trace = optarg;
        return true;
    default:
        return false;
    }
}

static bool read_trace(struct bench_load *load)
{
    FILE *file = fopen(load->trace, "rb");
    long size = file == NULL || fseek(file, 0, SEEK_END) != 0 ? 0 : ftell(file);
    load->questions = size < 4 ? NULL : malloc((size_t)size / 4 * sizeof *load->questions);
    unsigned char bytes[4];
    if (load->questions != NULL) {
        rewind(file);
        while (load->question_count < (size_t)size / 4 && fread(bytes, 4, 1, file) == 1) {
            load->questions[load->question_count++] = (unsigned)bytes[0] << 24 | (unsigned)bytes[1] << 16 |
                                                      (unsigned)bytes[2] << 8 | bytes[3];
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return load->question_count > 0;
}

bool bench_load_read(struct bench_load *load, int argc, char **argv)
{
    *load = (struct bench_load){
        .path = "/1k", .method = "GET", .conns = 1, .seconds = 1, .warmup = 0.2, .drain = 5};
    for (int name; (name = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (!read_option(load, name)) {
            return false;
        }
    }
    bool sound = load->trace == NULL || (load->body_size > 0 && read_trace(load));
    if (load->port <= 0 || load->conns == 0 || !sound) {
        fprintf(stderr, "usage: client --port PORT [--path P] [--method M] [--header 'N: V'] "
                        "[--body BYTES] [--stream]\n  [--conns N] [--rate R] [--seconds S] "
                        "[--warmup S] [--ramp S] [--drain S] [--reuse N] [--watch PID,PID] "
                        "[--trace FILE] [--requests N]\n");
        return false;
    }
    return true;
}
