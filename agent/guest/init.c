/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The first and only program of a guest of `twinfold bench qemu`, linked
 * statically. Says "guest: ready", and is idle; with TF_SECONDS=S in its
 * environment (the kernel's command line) it makes two files in tmpfs, rests,
 * and measures how fast it rewrites one of them, and how fast it reads the
 * other one at random places, S seconds each. Must never end. One thread.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 65536
#define FILE_BLOCKS 256 /* 16 MiB */
#define READ_BYTES 4096

static unsigned char block[BLOCK];
static uint64_t state = 1;

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fill_block(void)
{
	uint64_t word;

	for (size_t i = 0; i < BLOCK; i += sizeof(word)) {
		word = next_random();
		memcpy(block + i, &word, sizeof(word));
	}
}

/* Other bytes in each block and each round, and in no block twice. */
static int write_block(int fd, off_t at)
{
	for (size_t i = 0; i < BLOCK; i += READ_BYTES) {
		uint64_t word = next_random();

		memcpy(block + i, &word, sizeof(word));
	}
	return pwrite(fd, block, BLOCK, at) == BLOCK ? 0 : -1;
}

static int write_file(int fd)
{
	for (off_t i = 0; i < FILE_BLOCKS; i++)
		if (write_block(fd, i * BLOCK))
			return -1;
	return 0;
}

/* MB/s, or below 0. */
static double write_rate(int fd, double seconds)
{
	double begin = now(), passed;
	double bytes = 0;

	do {
		if (write_file(fd))
			return -1;
		bytes += (double)FILE_BLOCKS * BLOCK;
		passed = now() - begin;
	} while (passed < seconds);
	return bytes / passed / 1e6;
}

/* Reads at random places for each second, or below 0. */
static double read_rate(int fd, double seconds)
{
	const uint64_t places = FILE_BLOCKS * (BLOCK / READ_BYTES);
	double begin = now(), passed;
	double reads = 0;

	do {
		for (int i = 0; i < 256; i++) {
			off_t at = (off_t)(next_random() % places);

			if (pread(fd, block, READ_BYTES, at * READ_BYTES) !=
			    READ_BYTES)
				return -1;
		}
		reads += 256;
		passed = now() - begin;
	} while (passed < seconds);
	return reads / passed;
}

static void measure(double seconds)
{
	int written = open("/t/written", O_RDWR | O_CREAT, 0600);
	int read = open("/t/read", O_RDWR | O_CREAT, 0600);

	fill_block();
	if (written < 0 || read < 0 || write_file(written) ||
	    write_file(read)) {
		printf("guest: FAILED to make files\n");
		return;
	}
	/* Merging of what booting left is over then. */
	sleep((unsigned)seconds);
	double write_mb = write_rate(written, seconds);
	double reads = read_rate(read, seconds);

	/* One line: the console's reader may see half of the output. */
	printf("guest: rates %.3f %.3f end\n", write_mb, reads);
}

int main(void)
{
	const char *seconds = getenv("TF_SECONDS");
	int console;

	mkdir("/dev", 0755);
	mkdir("/t", 0755);
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) ||
	    mount("t", "/t", "tmpfs", 0, "size=80%"))
		return 1;
	console = open("/dev/console", O_RDWR);
	if (console < 0)
		return 1;
	dup2(console, STDOUT_FILENO);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("guest: ready\n");
	if (seconds)
		measure(atof(seconds));
	for (;;)
		pause();
}
