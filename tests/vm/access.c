/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * access.c -- does access sequences on files of a file system, in the VM
 *
 * A request on standard input is a line "= DIRECTORY", then steps, one a line
 * (docs/testing.md has the language), then ".".  The answer:
 *
 *   r ok 00*4096          one for each step: what it came to, the bytes it read
 *   b 8192 8388608        written bytes by the block map, size of the file
 *   e a TEXT              an fs_dax event of file a, as ftrace has it
 *   s                     the next step's events begin
 *   .
 *
 * All steps come first, then all events: tracefs is read once for a request.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE		4096UL
#define PMD		(2UL << 20)
#define TRACING		"/sys/kernel/tracing/"
#define MAX_WORDS	8

struct file {
	int fd;				/* 0: not open */
	char path[256];
	struct stat stat;
};

struct map {
	char *start;			/* NULL: none */
	size_t len;
	struct file *file;
};

static struct file files[26];		/* by letter */
static struct map maps[26];
static const char *directory;
static sigjmp_buf no_access;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- what came out --------------------------------------------------- */

static void print_bytes(const unsigned char *bytes, size_t len)
{
	size_t i = 0, run;

	for (; i < len; i += run) {
		for (run = 1; i + run < len && bytes[i + run] == bytes[i];)
			run++;
		printf(" %02x*%zu", bytes[i], run);
	}
	printf("\n");
}

static void print_result(long ret, const void *bytes)
{
	if (ret < 0)
		printf("r %s\n", strerrorname_np(errno));
	else if (bytes) {
		printf("r ok");
		print_bytes(bytes, ret);
	} else
		printf("r ok\n");
}

/* Bytes of the extents up to @end that are written, which st_blocks does not tell. */
static unsigned long written_bytes(int fd, unsigned long end)
{
	enum { NR = 512 };
	struct fiemap *map = calloc(1, sizeof(*map) +
				    NR * sizeof(struct fiemap_extent));
	unsigned long bytes = 0;

	map->fm_length = FIEMAP_MAX_OFFSET;
	map->fm_extent_count = NR;
	if (ioctl(fd, FS_IOC_FIEMAP, map))
		die("FIEMAP");
	for (unsigned int i = 0; i < map->fm_mapped_extents; i++) {
		struct fiemap_extent *extent = &map->fm_extents[i];
		unsigned long start = extent->fe_logical;

		if (start < end && !(extent->fe_flags & FIEMAP_EXTENT_UNWRITTEN))
			bytes += start + extent->fe_length < end ?
				 extent->fe_length : end - start;
	}
	free(map);
	return bytes;
}

static void print_file(const struct file *file)
{
	struct stat stat;

	if (fstat(file->fd, &stat))
		die("fstat");
	printf("b %lu %ld\n",
	       written_bytes(file->fd, (stat.st_size + PAGE - 1) & -PAGE),
	       (long)stat.st_size);
}

/* ---- loads and stores ------------------------------------------------ */

static void on_signal(int sig)
{
	siglongjmp(no_access, sig);
}

/* Forward, a page at a time, so that what faults first is known. */
static void touch(char *to, const char *from, size_t len, const char *mapped)
{
	while (len) {
		size_t n = PAGE - (uintptr_t)mapped % PAGE;

		if (n > len)
			n = len;
		memcpy(to, from, n);
		to += n;
		from += n;
		mapped += n;
		len -= n;
	}
}

static void access_map(struct map *map, size_t offset, size_t len, int byte)
{
	char *buf = malloc(len);
	char *at = map->start + offset;
	int sig = sigsetjmp(no_access, 1);

	if (sig) {
		printf("r %s\n", sig == SIGBUS ? "SIGBUS" : "SIGSEGV");
	} else if (byte < 0) {
		touch(buf, at, len, at);
		print_result(len, buf);
	} else {
		memset(buf, byte, len);
		touch(at, buf, len, at);
		print_result(0, NULL);
	}
	free(buf);
}

static void rw(struct file *file, size_t offset, size_t len, int byte)
{
	char *buf = malloc(len);
	long ret;

	if (byte < 0) {
		ret = pread(file->fd, buf, len, offset);
		print_result(ret, buf);
	} else {
		memset(buf, byte, len);
		ret = pwrite(file->fd, buf, len, offset);
		print_result(ret, NULL);
	}
	free(buf);
}

/* ---- steps ----------------------------------------------------------- */

static size_t number(const char *word)
{
	char *end;
	size_t value = strtoul(word, &end, 0);

	if (*end == 'K')
		value <<= 10;
	else if (*end == 'M')
		value <<= 20;
	return value;
}

static bool has(char **words, const char *word)
{
	for (; *words; words++)
		if (!strcmp(*words, word))
			return true;
	return false;
}

static struct file *open_file(char letter, size_t size)
{
	struct file *file = &files[letter - 'a'];
	int ret;

	snprintf(file->path, sizeof(file->path), "%s/%c", directory, letter);
	file->fd = open(file->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (file->fd < 0)
		die(file->path);
	ret = ftruncate(file->fd, size);
	print_result(ret, NULL);
	if (fstat(file->fd, &file->stat))
		die("fstat");
	return file;
}

/* An address with the colour of the offset, as the engine's mappings have it. */
static void map_file(struct map *map, struct file *file, char **words)
{
	size_t offset = number(words[0]);
	int flags = has(words, "private") ? MAP_PRIVATE :
		    has(words, "sync") ? MAP_SHARED_VALIDATE | MAP_SYNC :
		    MAP_SHARED;
	int prot = PROT_READ | (has(words, "ro") ? 0 : PROT_WRITE);
	char *room, *start;

	map->len = number(words[1]);
	map->file = file;
	room = mmap(NULL, map->len + 2 * PMD, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		die("mmap");
	start = (char *)(((uintptr_t)room + PMD - 1) & -PMD) + offset % PMD;
	map->start = mmap(start, map->len, prot, flags | MAP_FIXED, file->fd,
			  offset);
	if (map->start == MAP_FAILED)
		map->start = NULL;
	else if (has(words, "pte") &&
		 madvise(map->start, map->len, MADV_NOHUGEPAGE))
		die("madvise");
	print_result(map->start ? 0 : -1, NULL);
}

static int fallocate_mode(const char *verb)
{
	if (!strcmp(verb, "punch"))
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	if (!strcmp(verb, "zero"))
		return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	if (!strcmp(verb, "falloc"))
		return 0;
	return -1;
}

/* Return: the file, to say what it has become; NULL: no such step. */
static struct file *step_file(const char *verb, struct file *file, char **words)
{
	int mode = fallocate_mode(verb);

	if (mode >= 0)
		print_result(fallocate(file->fd, mode, number(words[0]),
				       number(words[1])), NULL);
	else if (!strcmp(verb, "pread"))
		rw(file, number(words[0]), number(words[1]), -1);
	else if (!strcmp(verb, "pwrite"))
		rw(file, number(words[0]), number(words[1]), number(words[2]));
	else if (!strcmp(verb, "truncate"))
		print_result(ftruncate(file->fd, number(words[0])), NULL);
	else if (!strcmp(verb, "fsync"))
		print_result(fsync(file->fd), NULL);
	else
		return NULL;
	return file;
}

static struct file *step_map(const char *verb, struct map *map, char **words)
{
	size_t offset = words[0] ? number(words[0]) : 0;
	size_t len = words[0] ? number(words[1]) : map->len;

	if (!strcmp(verb, "load"))
		access_map(map, offset, len, -1);
	else if (!strcmp(verb, "store"))
		access_map(map, offset, len, number(words[2]));
	else if (!strcmp(verb, "msync"))
		print_result(msync(map->start + offset, len, MS_SYNC), NULL);
	else if (!strcmp(verb, "dontneed"))
		print_result(madvise(map->start + offset, len, MADV_DONTNEED),
			     NULL);
	else if (!strcmp(verb, "unmap")) {
		print_result(munmap(map->start, map->len), NULL);
		map->start = NULL;
	} else
		return NULL;
	return map->file;
}

static void step(char *line)
{
	char *words[MAX_WORDS + 1] = { NULL };
	struct file *file = NULL;
	int nr = 0;
	char letter;

	for (char *word = strtok(line, " "); word && nr < MAX_WORDS;
	     word = strtok(NULL, " "))
		words[nr++] = word;
	letter = nr > 1 ? words[1][0] : '?';
	if (letter >= 'a' && letter <= 'z' && !strcmp(words[0], "open"))
		file = open_file(letter, number(words[2]));
	else if (letter >= 'a' && letter <= 'z')
		file = step_file(words[0], &files[letter - 'a'], words + 2);
	else if (letter >= 'A' && letter <= 'Z' && !strcmp(words[0], "map")) {
		file = &files[words[2][0] - 'a'];
		map_file(&maps[letter - 'A'], file, words + 3);
	} else if (letter >= 'A' && letter <= 'Z')
		file = step_map(words[0], &maps[letter - 'A'], words + 2);
	if (!file) {
		fprintf(stderr, "access: no such step: %s\n", words[0]);
		exit(1);
	}
	print_file(file);
}

/* ---- ftrace ---------------------------------------------------------- */

static void tracing_write(const char *name, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), TRACING "%s", name);
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

/* The letter of the file that an event is of, 0: of none. */
static char event_file(const char *line)
{
	unsigned int major, minor;
	unsigned long ino;
	const char *at = strstr(line, ": dev ");

	if (!at || sscanf(at, ": dev %u:%u ino %lx", &major, &minor, &ino) != 3)
		return 0;
	for (int i = 0; i < 26; i++) {
		struct stat *stat = &files[i].stat;

		if (files[i].fd && stat->st_ino == ino &&
		    stat->st_dev == ((dev_t)major << 8 | minor))
			return 'a' + i;
	}
	return 0;
}

static void print_events(void)
{
	char line[1024];
	FILE *trace = fopen(TRACING "trace", "r");

	if (!trace)
		die("trace");
	while (fgets(line, sizeof(line), trace)) {
		char letter = event_file(line);

		if (strstr(line, "tracing_mark_write: step"))
			printf("s\n");
		else if (letter)
			printf("e %c %s", letter, strstr(line, "dax_"));
	}
	fclose(trace);
}

/* ---- requests -------------------------------------------------------- */

static void begin(char *path)
{
	directory = path;
	tracing_write("trace", "");
}

static void end(void)
{
	print_events();
	for (int i = 0; i < 26; i++) {
		if (maps[i].start)
			munmap(maps[i].start, maps[i].len);
		if (files[i].fd) {
			close(files[i].fd);
			unlink(files[i].path);
		}
	}
	memset(maps, 0, sizeof(maps));
	memset(files, 0, sizeof(files));
	printf(".\n");
	fflush(stdout);
}

int main(void)
{
	static char path[256];
	char line[256];
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	tracing_write("events/fs_dax/enable", "1");
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '=') {
			strcpy(path, line + 2);
			begin(path);
		} else if (!strcmp(line, ".")) {
			end();
		} else {
			tracing_write("trace_marker", "step");
			step(line);
		}
	}
	return 0;
}
