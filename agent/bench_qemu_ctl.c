/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection to a guest's control socket, kept as long as the guest
 * lives. The socket's name is removed as soon as we are connected, so that
 * nothing stays behind. No locks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent/bench_qemu.h"

#define CONNECT_NS (20ull * 1000 * 1000 * 1000)

static int connect_to(const char *path)
{
	const struct timespec pause = { .tv_nsec = 5 * 1000 * 1000 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint64_t end = bench_now_ns() + CONNECT_NS;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	while (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		if (bench_now_ns() > end) {
			close(fd);
			return -ETIMEDOUT;
		}
		nanosleep(&pause, NULL);
	}
	unlink(path);
	return fd;
}

/* One line, as an object. */
static json_t *read_object(FILE *from)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n = getline(&line, &room, from);
	json_t *o = n > 0 ? json_loadb(line, (size_t)n, 0, NULL) : NULL;

	free(line);
	return o;
}

int qemu_ctl_open(struct qemu_guest *guest, const char *path)
{
	int fd = connect_to(path);
	json_t *greeting;

	if (fd < 0)
		return bench_fail(TF_EXIT_FAILED,
				  "a guest has no control socket: %s",
				  strerror(-fd));
	guest->from = fdopen(fd, "r");
	guest->to = fdopen(dup(fd), "w");
	greeting = guest->to ? read_object(guest->from) : NULL;
	json_decref(greeting);
	if (greeting)
		return TF_EXIT_OK;
	return bench_fail(TF_EXIT_FAILED, "a guest's control socket is mute");
}

json_t *qemu_ask(struct qemu_guest *guest, const char *command)
{
	json_t *answer = NULL, *ret;

	if (fprintf(guest->to, "{\"execute\": \"%s\", \"arguments\": {}}\n",
		    command) > 0 &&
	    !fflush(guest->to))
		answer = read_object(guest->from);
	ret = json_incref(json_object_get(answer, "return"));
	if (!ret)
		bench_fail(TF_EXIT_FAILED, "a guest does not answer to %s: %s",
			   command,
			   json_string_value(json_object_get(
				   json_object_get(answer, "error"), "desc")));
	json_decref(answer);
	return ret;
}
