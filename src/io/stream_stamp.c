/* stream_stamp - a plain stream that asks the kernel when its bytes came.
 *
 * A loop learns of bytes when it has woken up and has dealt with what came before; the kernel stamps each segment when it
 * takes it from the network, and hands the last one's stamp out with the bytes (SO_TIMESTAMPNS, socket(7); for TCP since
 * Linux 4.13). The stamp is on the wall clock, whose distance from the monotonic one is asked for at each read: only a clock
 * that is set in the microseconds between can be told, by a stamp that lies outside of what is possible.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "io/stream_private.h"

ps_time ps_stream_stamp_place(ps_time stamp, ps_time wall, ps_time now, ps_time since)
{
    ps_time came = now - (wall - stamp);
    return came < since || came > now ? now : came;
}

static ps_time stamp_in(struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(part), sizeof at);
            return (ps_time)at.tv_sec * PS_SECOND + at.tv_nsec;
        }
    }
    return 0;
}

/* The wall clock is read first: what comes between the two makes a stamp later, never earlier than it was. */
static void note(struct ps_stream *stream, struct msghdr *message)
{
    const struct ps_clock *clock = ps_loop_clock(stream->loop);
    ps_time stamp = stamp_in(message);
    ps_time wall = ps_clock_wall(clock);
    ps_time now = ps_clock_now(clock);
    stream->came = stamp == 0 ? now : ps_stream_stamp_place(stamp, wall, now, stream->last_read);
}

static ssize_t read_stamped(struct ps_stream *stream, char *bytes, size_t len)
{
    union {
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
        struct cmsghdr align;
    } room;
    struct iovec part = {bytes, len};
    struct msghdr message;
    ssize_t n;
    do {
        message = (struct msghdr){
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof room};
        n = recvmsg(stream->fd, &message, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        note(stream, &message);
    }
    return ps_stream_read_result(n);
}

static const struct ps_transport stamped_transport = {read_stamped, ps_stream_write_plain};

void ps_stream_stamp_start(struct ps_stream *stream)
{
    int on = 1;
    bool real = !ps_loop_clock(stream->loop)->manual;
    if (real && setsockopt(stream->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) == 0) {
        stream->transport = &stamped_transport;
    }
}
