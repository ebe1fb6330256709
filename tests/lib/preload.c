/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cases in processes of their own, with the preload library. */
#include "lib/preload.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char work[] = "/tmp/twinfold-preload-XXXXXX";

/* A sanitizer's runtime must be loaded first. */
static void find_runtime(char *ret, size_t size)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];

	ret[0] = '\0';
	while (maps && fgets(line, sizeof(line), maps)) {
		char *path = strchr(line, '/');

		if (!path || !strstr(path, "libasan"))
			continue;
		path[strcspn(path, "\n")] = '\0';
		snprintf(ret, size, "%s:", path);
		break;
	}
	if (maps)
		fclose(maps);
}

/* In a mount namespace of its own. */
static bool set_node(enum preload_node node)
{
	static const char device[] = "/dev/userfaultfd";
	struct stat st;
	char path[64];
	bool done;

	if (node == PRELOAD_NODE_KEPT)
		return true;
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return false;
	if (node == PRELOAD_NODE_GONE)
		return !mount("none", "/dev", "tmpfs", 0, NULL);
	snprintf(path, sizeof(path), "%s/node", work);
	done = !stat(device, &st) && !mknod(path, S_IFCHR, st.st_rdev) &&
	       !chmod(path, 0666) && !mount(path, device, NULL, MS_BIND, NULL);
	unlink(path);
	return done;
}

static void become(const struct preload_case *c, const char *self)
{
	char preload[1200], runtime[512], ctl[64];
	int fd;

	snprintf(ctl, sizeof(ctl), "%s/stderr", work);
	fd = open(ctl, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dup2(fd, STDERR_FILENO);
	snprintf(ctl, sizeof(ctl), "%s/ctl", work);
	find_runtime(runtime, sizeof(runtime));
	snprintf(preload, sizeof(preload), "%s%s/libtwinfold-qemu.so", runtime,
		 getenv("BUILD_DIR"));
	setenv("LD_PRELOAD", preload, 1);
	setenv("TWINFOLD_CTL", ctl, 1);
	setenv("TWINFOLD_PACE", "100", 1);
	for (int i = 0; i < 4 && c->env[i]; i++)
		putenv((char *)c->env[i]);
	if (!set_node(c->node))
		_exit(1);
	if (c->uid &&
	    (chown(work, c->uid, c->uid) || setgid(c->uid) || setuid(c->uid)))
		_exit(1);
	execl(self, self, c->name, NULL);
	_exit(1);
}

/* Did it say what it was to say? `text` gets all it said. */
static bool said(const struct preload_case *c, char *text, size_t size)
{
	char path[64];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/stderr", work);
	f = fopen(path, "r");
	n = f ? fread(text, 1, size - 1, f) : 0;
	text[n] = '\0';
	if (f)
		fclose(f);
	return !c->said || strstr(text, c->said);
}

static bool run_case(const struct preload_case *c, const char *self)
{
	char path[64], text[8192];
	int status;
	pid_t pid = fork();
	bool ended;

	if (!pid)
		become(c, self);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return false;
	ended = c->signal ?
			WIFSIGNALED(status) && WTERMSIG(status) == c->signal :
			WIFEXITED(status) && !WEXITSTATUS(status);
	ended = said(c, text, sizeof(text)) && ended;
	printf("%s: %s\n", c->name, ended ? "ok" : "FAILED");
	if (!ended)
		fprintf(stderr, "%sstatus %#x\n", text, (unsigned)status);
	snprintf(path, sizeof(path), "%s/ctl", work);
	if (!c->signal && !access(path, F_OK)) {
		printf("%s: FAILED: left its socket behind\n", c->name);
		ended = false;
	}
	unlink(path);
	return ended;
}

static int skip(const char *why)
{
	fprintf(stderr, "%s\n", why);
	return 77;
}

int preload_main(char **argv, const struct preload_case *cases, size_t n)
{
	const char *sanitizer = getenv("TF_SANITIZE");
	char self[512], path[64];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t failed = 0;

	for (size_t i = 0; argv[1] && i < n; i++)
		if (!strcmp(argv[1], cases[i].name)) {
			cases[i].run();
			return 0;
		}
	if (sanitizer && !strcmp(sanitizer, "thread"))
		return skip("a thread sanitizer cannot be preloaded");
	if (access("/dev/userfaultfd", R_OK | W_OK))
		return skip("no access to /dev/userfaultfd");
	if (!getenv("BUILD_DIR") || len < 0 || !mkdtemp(work))
		return 1;
	self[len] = '\0';
	for (size_t i = 0; i < n; i++)
		failed += !run_case(&cases[i], self);
	snprintf(path, sizeof(path), "%s/stderr", work);
	unlink(path);
	rmdir(work);
	return failed ? 1 : 0;
}

/* --- in a case ------------------------------------------------------------ */

static int connect_ctl(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", getenv("TWINFOLD_CTL"));
	CHECK(!connect(fd, (struct sockaddr *)&a, sizeof(a)));
	return fd;
}

void preload_line(const char *line, char *ret, size_t size)
{
	FILE *f = fdopen(connect_ctl(), "r+");

	CHECK(f && fgets(ret, (int)size, f));
	CHECK(strstr(ret, "\"version\""));
	CHECK(fprintf(f, "%s\n", line) > 0 && !fflush(f));
	CHECK(fgets(ret, (int)size, f));
	fclose(f);
}

json_t *preload_ask(const char *command, json_t *args, char *desc, size_t size)
{
	json_t *o = json_pack("{s:s,s:o}", "execute", command, "arguments",
			      args ? args : json_object());
	char *text = json_dumps(o, JSON_COMPACT), *line = malloc(65536);
	json_t *answer, *ret;
	const char *why;

	preload_line(text, line, 65536);
	answer = json_loads(line, 0, NULL);
	CHECK(answer);
	ret = json_incref(json_object_get(answer, "return"));
	why = json_string_value(
		json_object_get(json_object_get(answer, "error"), "desc"));
	if (desc)
		snprintf(desc, size, "%s", why ? why : "");
	json_decref(answer);
	json_decref(o);
	free(text);
	free(line);
	return ret;
}

uint64_t preload_stat(const char *name)
{
	json_t *o = preload_ask("stats", NULL, NULL, 0);
	const json_t *value = json_object_get(o, name);
	uint64_t n;

	CHECK(json_is_integer(value));
	n = (uint64_t)json_integer_value(value);
	json_decref(o);
	return n;
}

bool preload_block(const void *hva, char *state, char *reason, size_t size)
{
	json_t *o = preload_ask("stats", NULL, NULL, 0), *b;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(o, "blocks"), i, b) {
		const char *why =
			json_string_value(json_object_get(b, "reason"));

		if ((uintptr_t)json_integer_value(json_object_get(b, "hva")) !=
		    (uintptr_t)hva)
			continue;
		found = true;
		snprintf(state, size, "%s",
			 json_string_value(json_object_get(b, "state")));
		snprintf(reason, size, "%s", why ? why : "");
	}
	json_decref(o);
	return found;
}

bool preload_has_reason(const char *part)
{
	json_t *o = preload_ask("stats", NULL, NULL, 0), *why;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(o, "reasons"), i, why)
		found |= strstr(json_string_value(why), part) != NULL;
	json_decref(o);
	return found;
}

void preload_wait(const void *hva, const char *state)
{
	char now[200] = "", why[200] = "";

	for (int i = 0; i < 1000; i++) {
		CHECK(preload_block(hva, now, why, sizeof(now)));
		if (!strcmp(now, state))
			return;
		usleep(10000);
	}
	fprintf(stderr, "block is %s (%s)\n", now, why);
	CHECK(!"the block's state");
}

void preload_passes(void)
{
	for (int i = 0; i < 4; i++) {
		json_t *ret = preload_ask("pass", NULL, NULL, 0);

		CHECK(ret);
		json_decref(ret);
	}
}

bool preload_inject(uint64_t gpa)
{
	json_t *ret = preload_ask("inject",
				  json_pack("{s:I,s:s}", "gpa", (json_int_t)gpa,
					    "how", "sim"),
				  NULL, 0);
	bool done = ret != NULL;

	json_decref(ret);
	return done;
}

void preload_fill_page(char *page, unsigned i)
{
	uint64_t *words = (uint64_t *)(void *)page;

	for (unsigned w = 0; w < 512; w++)
		words[w] = (i % 2 ? i % 32 : i) * 2654435761u + w + 1;
}

bool preload_page_holds(const char *page, unsigned i)
{
	char want[4096] __attribute__((aligned(8)));

	preload_fill_page(want, i);
	return !memcmp(page, want, sizeof(want));
}

bool preload_holds(const char *ram, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		if (!preload_page_holds(ram + (size_t)i * 4096, i))
			return false;
	return true;
}

char *preload_map(void)
{
	char *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(ram != MAP_FAILED);
	for (unsigned i = 0; i < RAM_PAGES; i++)
		preload_fill_page(ram + (size_t)i * 4096, i);
	return ram;
}

char *preload_merged(void)
{
	char *ram = preload_map();

	CHECK(!madvise(ram, RAM_BYTES, MADV_MERGEABLE));
	CHECK(!madvise(ram, RAM_BYTES, MADV_DONTFORK));
	preload_wait(ram, "merging");
	preload_passes();
	CHECK(preload_stat("pages_merged") > RAM_PAGES / 4);
	CHECK(preload_holds(ram, 0, RAM_PAGES));
	return ram;
}

void preload_kernels_own(void)
{
	char *ram = preload_map();

	CHECK(!madvise(ram, RAM_BYTES, MADV_MERGEABLE));
	CHECK(preload_vma_has(ram, " mg"));
	CHECK(!madvise(ram, 4096, MADV_DONTNEED));
	CHECK(!ram[0] && preload_holds(ram, 1, RAM_PAGES));
}

void preload_left_alone(void)
{
	const char *ctl = getenv("TWINFOLD_CTL");

	preload_kernels_own();
	CHECK(ctl && access(ctl, F_OK));
}

bool preload_vma_has(const void *addr, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool inside = false, has = false;
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = (uintptr_t)addr >= start &&
				 (uintptr_t)addr < end;
		if (inside && !strncmp(line, "VmFlags:", 8))
			has = strstr(line, flag) != NULL;
	}
	if (f)
		fclose(f);
	return has;
}
