/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket: QMP's shape, one JSON object a line. A thread of its own
 * serves a few clients, one command after the other; it holds no lock of this
 * file. Only the owner may connect. The socket's file goes when QEMU exits.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/thread.h"
#include "vmm/qemu/ctl.h"
#include "vmm/qemu/preload.h"

#define CLIENTS 8
#define LINE_MAX_BYTES 4096

struct client {
	int fd; /* -1: free */
	size_t len;
	char line[LINE_MAX_BYTES];
};

static struct client clients[CLIENTS];
static int listener = -1;
static char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
static pid_t owner;

static void hang_up(struct client *c)
{
	close(c->fd);
	c->fd = -1;
}

static bool send_line(int fd, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	return len && send(fd, text, len, MSG_NOSIGNAL) == (ssize_t)len &&
	       send(fd, "\n", 1, MSG_NOSIGNAL) == 1;
}

static void serve_line(struct client *c, size_t len)
{
	char *answer = tq_ctl_answer(c->line, len);

	if (!send_line(c->fd, answer))
		hang_up(c);
	free(answer);
}

/* Every whole line; what is left begins the next one. */
static void serve_lines(struct client *c)
{
	char *end;

	while (c->fd >= 0 && (end = memchr(c->line, '\n', c->len))) {
		size_t len = (size_t)(end - c->line);

		serve_line(c, len);
		c->len -= len + 1;
		memmove(c->line, end + 1, c->len);
	}
	if (c->fd >= 0 && c->len == sizeof(c->line)) {
		send_line(c->fd, "{\"error\": {\"class\": \"GenericError\", "
				 "\"desc\": \"the line is too long\"}}");
		hang_up(c);
	}
}

static void serve(struct client *c)
{
	ssize_t n = recv(c->fd, c->line + c->len, sizeof(c->line) - c->len, 0);

	if (n <= 0) {
		hang_up(c);
		return;
	}
	c->len += (size_t)n;
	serve_lines(c);
}

/* A client that does not read must not hold up the others for ever. */
static void welcome(void)
{
	const struct timeval second = { .tv_sec = 1 };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char *greeting;

	if (fd < 0) {
		/* No descriptor: whoever it is waits until there is one. */
		poll(NULL, 0, 100);
		return;
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (clients[i].fd >= 0)
			continue;
		clients[i].fd = fd;
		clients[i].len = 0;
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second,
			   sizeof(second));
		greeting = tq_ctl_greeting();
		if (!send_line(fd, greeting))
			hang_up(&clients[i]);
		free(greeting);
		return;
	}
	close(fd);
}

static void *ctl_main(void *arg)
{
	struct pollfd fds[CLIENTS + 1];

	(void)arg;
	if (!tq_life_wait())
		return NULL;
	for (;;) {
		for (unsigned i = 0; i < CLIENTS; i++)
			fds[i] = (struct pollfd){ .fd = clients[i].fd,
						  .events = POLLIN };
		fds[CLIENTS] =
			(struct pollfd){ .fd = listener, .events = POLLIN };
		if (poll(fds, CLIENTS + 1, -1) <= 0)
			continue;
		for (unsigned i = 0; i < CLIENTS; i++)
			if (fds[i].revents)
				serve(&clients[i]);
		if (fds[CLIENTS].revents)
			welcome();
	}
	return NULL;
}

/* A file that a process which is gone left behind may be taken away. */
static int remove_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd, err;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	/* Whoever has it may be too busy to answer: EAGAIN. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ?
		      errno :
		      EADDRINUSE;
	close(fd);
	if (err == EAGAIN)
		err = EADDRINUSE;
	if (err != ECONNREFUSED)
		return -err;
	return unlink(address->sun_path) ? -errno : 0;
}

static int open_listener(const char *where)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	memcpy(address.sun_path, where, strlen(where) + 1);
	err = remove_stale(&address);
	/* The mode of the file that bind() makes: nobody else may connect. */
	if (!err &&
	    (fchmod(fd, 0600) ||
	     bind(fd, (const struct sockaddr *)&address, sizeof(address)) ||
	     listen(fd, CLIENTS)))
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	memcpy(path, where, strlen(where) + 1);
	owner = getpid();
	return fd;
}

__attribute__((destructor)) static void remove_socket(void)
{
	if (path[0] && owner == getpid())
		unlink(path);
}

static void close_listener(void)
{
	remove_socket();
	path[0] = '\0';
	close(listener);
	listener = -1;
}

int tq_ctl_begin(const struct tq_life *life)
{
	pthread_t thread;
	int err;

	if (!life->env.ctl)
		return 0;
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i].fd = -1;
	listener = open_listener(life->env.ctl);
	if (listener < 0) {
		tq_say(TF_LOG_ERR, "TWINFOLD_CTL: no socket at '%s' (%s)",
		       life->env.ctl, strerror(-listener));
		return listener;
	}
	err = tf_thread_start(&thread, ctl_main, NULL);
	if (!err)
		pthread_setname_np(thread, "twinfold-ctl");
	else
		close_listener();
	return err;
}
