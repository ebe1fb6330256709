/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first program of a Linux guest of `twinfold drill --backend mce`, linked
 * statically. Two processes of it fill memory with contents that follow from
 * places and versions alone, and check all of it, round after round:
 *
 *   keeper   pages in groups of equal content, pages of zeros, and pages that
 *            are rewritten all the time, now with a content of their own and
 *            now with that of a group
 *   owner    pages whose content is nowhere else
 *
 * Init itself only reports, on port 0xe9, which no message of the kernel
 * disturbs, a JSON array on each line: its number, the guest addresses of one page of each
 * kind (common, zeros, unique; TF_SEED says which; none of them is ever written
 * to), rounds of the keeper and of the owner, pages checked, wrong pages, wrong
 * bytes, lost writes, and the signals that ended the two (0: alive). One that is killed
 * is not replaced. Must never end.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_INTERVAL                                                         \
	"/sys/devices/system/machinecheck/machinecheck0/check_interval"
#define PORT 0xe9
#define PAGE 4096
#define WORDS (PAGE / sizeof(uint64_t))
#define GROUPS 4
#define COMMON (GROUPS * 64)
#define ZEROS 64
#define REWRITTEN 16
#define UNIQUE 64
#define ROUND_US 20000
#define REPORT_US 200000
#define COLOR_UNIQUE 0x100
#define COLOR_REWRITTEN 0x200

/* Of one process; init only reads it, but for `ended`. */
struct desk {
	volatile uint64_t rounds, checks, failures, wrong_bytes, lost_writes;
	volatile uint64_t gpa[2];
	volatile int ended;
};

static struct desk *keeper, *owner;
static uint64_t seed;
static int port;

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Color 0 is zeros; every other color is a content of its own. */
static uint64_t word_of(uint64_t color, size_t i)
{
	return color ? mix(color << 16 | i) : 0;
}

static void paint(uint64_t *page, uint64_t color)
{
	for (size_t i = 0; i < WORDS; i++)
		page[i] = word_of(color, i);
}

static uint64_t count_wrong(const volatile uint64_t *page, uint64_t color)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < WORDS; i++) {
		uint64_t bad = page[i] ^ word_of(color, i);

		for (; bad; bad >>= 8)
			wrong += (bad & 0xff) != 0;
	}
	return wrong;
}

/* `before`: what a write that was lost would have left. */
static void check(struct desk *desk, const uint64_t *page, uint64_t color,
		  uint64_t before)
{
	uint64_t wrong = count_wrong(page, color);

	desk->checks++;
	if (!wrong)
		return;
	desk->failures++;
	desk->wrong_bytes += wrong;
	if (before != color && !count_wrong(page, before))
		desk->lost_writes++;
}

/* 0: the kernel does not say. */
static uint64_t gpa_of(const void *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	if (pread(fd, &entry, sizeof(entry),
		  (off_t)((uintptr_t)page / PAGE * sizeof(entry))) !=
	    sizeof(entry))
		entry = 0;
	close(fd);
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

/* Small pages that stay where they are. */
static uint64_t *make_pages(unsigned n)
{
	size_t bytes = (size_t)n * PAGE;
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || madvise(at, bytes, MADV_NOHUGEPAGE) ||
	    mlock(at, bytes))
		_exit(1);
	return at;
}

static uint64_t *page_at(uint64_t *pages, unsigned i)
{
	return pages + i * WORDS;
}

/* ---- the keeper ---- */

struct kept {
	uint64_t *common, *zeros, *rewritten;
	uint64_t color[REWRITTEN], before[REWRITTEN];
	uint64_t version;
};

static void fill(struct kept *k)
{
	k->common = make_pages(COMMON);
	k->zeros = make_pages(ZEROS);
	k->rewritten = make_pages(REWRITTEN);
	for (unsigned i = 0; i < COMMON; i++)
		paint(page_at(k->common, i), 1 + i % GROUPS);
	/* Written, so that they are pages of the guest's. */
	for (unsigned i = 0; i < ZEROS; i++)
		paint(page_at(k->zeros, i), 0);
	for (unsigned i = 0; i < REWRITTEN; i++) {
		k->color[i] = k->before[i] = 1;
		paint(page_at(k->rewritten, i), 1);
	}
}

static void rewrite(struct kept *k)
{
	uint64_t version = k->version++;
	unsigned i = version % REWRITTEN;

	k->before[i] = k->color[i];
	if (k->color[i] >= COLOR_REWRITTEN)
		k->color[i] = 1 + version % GROUPS;
	else
		k->color[i] = COLOR_REWRITTEN + version;
	paint(page_at(k->rewritten, i), k->color[i]);
}

static _Noreturn void keep(struct desk *desk)
{
	static struct kept k;

	fill(&k);
	for (;;) {
		for (unsigned i = 0; i < COMMON; i++)
			check(desk, page_at(k.common, i), 1 + i % GROUPS, 0);
		for (unsigned i = 0; i < ZEROS; i++)
			check(desk, page_at(k.zeros, i), 0, 0);
		for (unsigned i = 0; i < REWRITTEN; i++)
			check(desk, page_at(k.rewritten, i), k.color[i],
			      k.before[i]);
		rewrite(&k);
		desk->gpa[0] = gpa_of(page_at(k.common, seed % COMMON));
		desk->gpa[1] = gpa_of(page_at(k.zeros, seed % ZEROS));
		desk->rounds++;
		usleep(ROUND_US);
	}
}

/* ---- the owner ---- */

static _Noreturn void own(struct desk *desk)
{
	uint64_t *pages = make_pages(UNIQUE);

	for (unsigned i = 0; i < UNIQUE; i++)
		paint(page_at(pages, i), COLOR_UNIQUE + i);
	for (;;) {
		for (unsigned i = 0; i < UNIQUE; i++)
			check(desk, page_at(pages, i), COLOR_UNIQUE + i, 0);
		desk->gpa[0] = gpa_of(page_at(pages, seed % UNIQUE));
		desk->rounds++;
		usleep(ROUND_US);
	}
}

/* ---- init ---- */

/* Through the kernel: where the host is itself emulated, a process loses its
 * port's permission when registers are set from outside. */
static void say(const char *line)
{
	for (; *line; line++)
		if (pwrite(port, line, 1, PORT) != 1)
			return;
}

static pid_t start(void (*work)(struct desk *), struct desk *desk)
{
	pid_t pid = fork();

	if (!pid)
		work(desk);
	return pid;
}

static void report(void)
{
	static uint64_t number;
	const uint64_t told[] = {
		++number,
		keeper->gpa[0],
		keeper->gpa[1],
		owner->gpa[0],
		keeper->rounds,
		owner->rounds,
		keeper->checks + owner->checks,
		keeper->failures + owner->failures,
		keeper->wrong_bytes + owner->wrong_bytes,
		keeper->lost_writes + owner->lost_writes,
		(uint64_t)keeper->ended,
		(uint64_t)owner->ended,
	};
	char line[512];
	int n = 0;

	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%c%llu",
			      i ? ',' : '[', (unsigned long long)told[i]);
	snprintf(line + n, sizeof(line) - (size_t)n, "]\n");
	say(line);
}

static void look_after(pid_t pid, struct desk *desk)
{
	int status;

	if (!desk->ended && waitpid(pid, &status, WNOHANG) == pid)
		desk->ended = WIFSIGNALED(status) ? WTERMSIG(status) : 255;
}

/* AMD: an error that is put into a bank is found within a second then. */
static void poll_banks(void)
{
	int fd;

	mkdir("/sys", 0755);
	mount("sys", "/sys", "sysfs", 0, NULL);
	fd = open(CHECK_INTERVAL, O_WRONLY);
	if (write(fd, "1", 1) != 1)
		perror(CHECK_INTERVAL);
	close(fd);
}

int main(void)
{
	const char *text = getenv("TF_SEED");
	pid_t keeping, owning;

	seed = text ? strtoull(text, NULL, 10) : 0;
	mkdir("/proc", 0755);
	keeper = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("dev", "/dev", "devtmpfs", 0, NULL) || keeper == MAP_FAILED)
		return 1;
	port = open("/dev/port", O_WRONLY);
	poll_banks();
	owner = keeper + 1;
	keeping = start(keep, keeper);
	owning = start(own, owner);
	for (;;) {
		look_after(keeping, keeper);
		look_after(owning, owner);
		report();
		usleep(REPORT_US);
	}
}
