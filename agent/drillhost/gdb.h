/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QEMU's gdb stub, as far as it is needed to overwrite physical memory of a
 * machine that stands still (GDB manual, "Remote Protocol"; QEMU manual, "GDB
 * usage": Qqemu.PhyMemMode). One thread.
 */
#ifndef TWINFOLD_AGENT_DRILLHOST_GDB_H
#define TWINFOLD_AGENT_DRILLHOST_GDB_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that one packet writes; a packet is below 4096 characters. */
#define GDB_WRITE_MAX 1024
#define GDB_PACKET_MAX (2 * GDB_WRITE_MAX + 64)

/* A packet around `text`, with its checksum. Returns its length. */
size_t gdb_packet(const char *text, char ret[GDB_PACKET_MAX]);

/* The text of a packet that writes `n` bytes, at most GDB_WRITE_MAX. */
void gdb_write_text(uint64_t at, const unsigned char *bytes, size_t n,
		    char ret[GDB_PACKET_MAX]);

enum gdb_answer {
	GDB_MORE,   /* no answer is complete yet */
	GDB_OK,     /* OK */
	GDB_REFUSED /* an error, or "" (not known) */
};

/*
 * What `n` received bytes answer. Acknowledgements and reports that the
 * machine has stopped are no answers.
 */
enum gdb_answer gdb_parse(const char *bytes, size_t n);

/* From now on addresses are physical. As gdb_write(). */
int gdb_physical(int fd);

/*
 * Overwrite physical memory; the machine must stand still.
 * EIO: the stub refused. ETIMEDOUT, EPIPE.
 */
int gdb_write(int fd, uint64_t at, const unsigned char *bytes, size_t n);

#endif
