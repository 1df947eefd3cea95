/*
 * The benchmark's small filesystem in memory, on libfuse's low-level interface.
 *
 * It has directories and regular files, and does what the benchmark asks of it: lookup,
 * getattr, setattr (size and mode), create, mkdir, unlink, rmdir, open, read, write, listings
 * with and without attributes, statfs. Nothing is cached in the kernel: entries and attributes
 * are valid for 0 seconds, files are opened with direct_io.
 *
 * An inode's address is its number on the wire. A directory keeps its entries in an array, in
 * which they stay where they are, so that a place serves as the offset of a listing; a hash
 * table finds them by name. One mutex guards everything: libfuse calls us from several threads
 * unless it is started with -s.
 *
 *     memory_libfuse MOUNTPOINT -f [-s] [-o OPTIONS]
 */
#define FUSE_USE_VERSION 314

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct inode {
	struct stat attr;
	uint64_t nlookup;
	char *data;               /* of a file */
	size_t room;
	struct entry **entries;   /* of a directory; NULL where a name was removed */
	size_t count, places;
};

struct entry {
	struct entry *next;       /* in the same bucket */
	struct inode *parent, *inode;
	size_t place;
	char name[];
};

enum { BUCKETS = 1 << 16 };

static struct entry *buckets[BUCKETS];
static struct inode root;
static ino_t last_ino = 1;
static pthread_mutex_t big_lock = PTHREAD_MUTEX_INITIALIZER;

#define LOCK() pthread_mutex_lock(&big_lock)
#define UNLOCK() pthread_mutex_unlock(&big_lock)

/* Inodes and entries */

static struct inode *inode_of(fuse_ino_t number)
{
	return number == FUSE_ROOT_ID ? &root : (struct inode *)(uintptr_t)number;
}

static void touch(struct inode *inode, int modified)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	inode->attr.st_ctim = now;
	if (modified)
		inode->attr.st_mtim = now;
}

static struct inode *new_inode(fuse_req_t req, mode_t mode)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	struct inode *inode = calloc(1, sizeof(*inode));

	if (!inode)
		return NULL;
	inode->attr.st_ino = ++last_ino;
	inode->attr.st_mode = mode;
	inode->attr.st_nlink = S_ISDIR(mode) ? 2 : 1;
	inode->attr.st_uid = caller->uid;
	inode->attr.st_gid = caller->gid;
	inode->attr.st_blksize = 4096;
	touch(inode, 1);
	inode->attr.st_atim = inode->attr.st_mtim;
	return inode;
}

static void free_if_unused(struct inode *inode)
{
	if (inode == &root || inode->attr.st_nlink || inode->nlookup)
		return;
	free(inode->data);
	free(inode->entries);
	free(inode);
}

static struct entry **bucket_of(const struct inode *parent, const char *name)
{
	uint64_t hash = (uintptr_t)parent >> 4;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 1099511628211u;
	return &buckets[(hash ^ hash >> 29) % BUCKETS];
}

static struct entry **find(const struct inode *parent, const char *name)
{
	struct entry **at = bucket_of(parent, name);

	while (*at && ((*at)->parent != parent || strcmp((*at)->name, name)))
		at = &(*at)->next;
	return at;
}

static int add(struct inode *parent, const char *name, struct inode *inode)
{
	struct entry **at = find(parent, name), *entry;

	if (parent->places == parent->count) {
		size_t places = parent->places ? parent->places * 2 : 16;
		struct entry **entries = realloc(parent->entries, places * sizeof(*entries));

		if (!entries)
			return ENOMEM;
		parent->entries = entries;
		parent->places = places;
	}
	entry = malloc(sizeof(*entry) + strlen(name) + 1);
	if (!entry)
		return ENOMEM;
	strcpy(entry->name, name);
	entry->next = NULL;
	entry->parent = parent;
	entry->inode = inode;
	entry->place = parent->count;
	parent->entries[parent->count++] = entry;
	*at = entry;
	touch(parent, 1);
	return 0;
}

static void take_out(struct entry **at)
{
	struct entry *entry = *at;
	struct inode *parent = entry->parent;

	parent->entries[entry->place] = NULL;
	while (parent->count && !parent->entries[parent->count - 1])
		parent->count--;
	touch(parent, 1);
	*at = entry->next;
	free(entry);
}

static int is_empty(const struct inode *directory)
{
	return directory->count == 0;
}

static void entry_param(struct inode *inode, struct fuse_entry_param *param)
{
	memset(param, 0, sizeof(*param));
	param->ino = (uintptr_t)inode;
	param->attr = inode->attr;
	inode->nlookup++;
}

/* Operations */

static void memory_init(void *data, struct fuse_conn_info *connection)
{
	(void)data;
	connection->want &= ~FUSE_CAP_WRITEBACK_CACHE;
	connection->max_write = 1 << 20;
}

static void memory_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param param;
	struct entry *entry;

	LOCK();
	entry = *find(inode_of(parent), name);
	if (entry)
		entry_param(entry->inode, &param);
	UNLOCK();
	if (entry)
		fuse_reply_entry(req, &param);
	else
		fuse_reply_err(req, ENOENT);
}

static void forget_one(fuse_ino_t number, uint64_t nlookup)
{
	struct inode *inode = inode_of(number);

	inode->nlookup -= nlookup;
	free_if_unused(inode);
}

static void memory_forget(fuse_req_t req, fuse_ino_t number, uint64_t nlookup)
{
	LOCK();
	forget_one(number, nlookup);
	UNLOCK();
	fuse_reply_none(req);
}

static void memory_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	LOCK();
	for (size_t i = 0; i < count; i++)
		forget_one(forgets[i].ino, forgets[i].nlookup);
	UNLOCK();
	fuse_reply_none(req);
}

static void memory_getattr(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
	struct stat attr;

	(void)fi;
	LOCK();
	attr = inode_of(number)->attr;
	UNLOCK();
	fuse_reply_attr(req, &attr, 0);
}

/* Make room for `size` bytes; what is new reads as zeros. */
static int set_size(struct inode *inode, size_t size)
{
	size_t old = inode->attr.st_size;

	if (size > inode->room) {
		size_t room = inode->room * 2 > size ? inode->room * 2 : size;
		char *data = realloc(inode->data, room);

		if (!data)
			return ENOMEM;
		inode->data = data;
		inode->room = room;
	}
	if (size > old)
		memset(inode->data + old, 0, size - old);
	inode->attr.st_size = size;
	inode->attr.st_blocks = (size + 511) / 512;
	return 0;
}

static void memory_setattr(fuse_req_t req, fuse_ino_t number, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct inode *inode = inode_of(number);
	struct stat now;
	int error = 0;

	(void)fi;
	LOCK();
	if (to_set & FUSE_SET_ATTR_MODE)
		inode->attr.st_mode = attr->st_mode;
	if (to_set & FUSE_SET_ATTR_SIZE)
		error = set_size(inode, attr->st_size);
	touch(inode, to_set & FUSE_SET_ATTR_SIZE);
	now = inode->attr;
	UNLOCK();
	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_attr(req, &now, 0);
}

/* Make a new object with a name, and describe it in `param`. */
static int make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_entry_param *param)
{
	struct inode *directory = inode_of(parent), *inode;
	int error = EEXIST;

	LOCK();
	if (!*find(directory, name)) {
		inode = new_inode(req, mode);
		error = inode ? add(directory, name, inode) : ENOMEM;
		if (!error) {
			entry_param(inode, param);
			directory->attr.st_nlink += S_ISDIR(mode) ? 1 : 0;
		}
	}
	UNLOCK();
	return error;
}

static void memory_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param param;
	int error = make(req, parent, name, S_IFREG | (mode & 07777), &param);

	fi->direct_io = 1;
	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_create(req, &param, fi);
}

static void memory_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fuse_entry_param param;
	int error = make(req, parent, name, S_IFDIR | (mode & 07777), &param);

	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_entry(req, &param);
}

/* Remove a name of a directory if `want_directory`, else of anything else. */
static int remove_name(fuse_ino_t parent, const char *name, int want_directory)
{
	struct inode *directory = inode_of(parent), *inode;
	struct entry **at;
	int error = 0;

	LOCK();
	at = find(directory, name);
	if (!*at)
		error = ENOENT;
	else if (want_directory != !!S_ISDIR((*at)->inode->attr.st_mode))
		error = want_directory ? ENOTDIR : EISDIR;
	else if (want_directory && !is_empty((*at)->inode))
		error = ENOTEMPTY;
	if (!error) {
		inode = (*at)->inode;
		take_out(at);
		inode->attr.st_nlink -= want_directory ? 2 : 1;
		directory->attr.st_nlink -= want_directory ? 1 : 0;
		touch(inode, 0);
		free_if_unused(inode);
	}
	UNLOCK();
	return error;
}

static void memory_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, remove_name(parent, name, 0));
}

static void memory_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, remove_name(parent, name, 1));
}

static void memory_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *fi)
{
	(void)number;
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

static void memory_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct inode *inode = inode_of(number);

	(void)fi;
	LOCK(); /* held while the reply is written: a write may move the data */
	if (offset >= inode->attr.st_size)
		size = 0;
	else if (size > (size_t)(inode->attr.st_size - offset))
		size = inode->attr.st_size - offset;
	fuse_reply_buf(req, size ? inode->data + offset : NULL, size);
	UNLOCK();
}

static void memory_write(fuse_req_t req, fuse_ino_t number, const char *data, size_t size, off_t offset,
			 struct fuse_file_info *fi)
{
	struct inode *inode = inode_of(number);
	int error = 0;

	(void)fi;
	LOCK();
	if ((off_t)(offset + size) > inode->attr.st_size)
		error = set_size(inode, offset + size);
	if (!error) {
		memcpy(inode->data + offset, data, size);
		touch(inode, 1);
	}
	UNLOCK();
	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_write(req, size);
}

/* One entry of a listing; its size, whether it fits or not. */
static size_t put_entry(fuse_req_t req, char *buffer, size_t room, const char *name, struct inode *inode, off_t next,
			int plus)
{
	struct fuse_entry_param param = {.attr = inode->attr};
	int counted = plus && strcmp(name, ".") && strcmp(name, "..");
	size_t need;

	if (!plus)
		return fuse_add_direntry(req, buffer, room, name, &inode->attr, next);
	if (counted)
		entry_param(inode, &param);
	need = fuse_add_direntry_plus(req, buffer, room, name, &param, next);
	if (counted && need > room)
		inode->nlookup--;
	return need;
}

static void list(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, int plus)
{
	struct inode *directory = inode_of(number);
	char *buffer = malloc(size);
	size_t used = 0, need;

	if (!buffer) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	LOCK();
	for (size_t place = offset; place < directory->count + 2; place++) { /* 0 and 1 are . and .. */
		struct entry *entry = place < 2 ? NULL : directory->entries[place - 2];

		if (place >= 2 && !entry)
			continue;
		need = put_entry(req, buffer + used, size - used, entry ? entry->name : place ? ".." : ".",
				 entry ? entry->inode : directory, place + 1, plus);
		if (need > size - used)
			break;
		used += need;
	}
	UNLOCK();
	fuse_reply_buf(req, buffer, used);
	free(buffer);
}

static void memory_readdir(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, number, size, offset, 0);
}

static void memory_readdirplus(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, number, size, offset, 1);
}

static void memory_statfs(fuse_req_t req, fuse_ino_t number)
{
	struct statvfs numbers = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255};

	(void)number;
	fuse_reply_statfs(req, &numbers);
}

static const struct fuse_lowlevel_ops operations = {
	.init = memory_init,
	.lookup = memory_lookup,
	.forget = memory_forget,
	.forget_multi = memory_forget_multi,
	.getattr = memory_getattr,
	.setattr = memory_setattr,
	.create = memory_create,
	.mkdir = memory_mkdir,
	.unlink = memory_unlink,
	.rmdir = memory_rmdir,
	.open = memory_open,
	.read = memory_read,
	.write = memory_write,
	.readdir = memory_readdir,
	.readdirplus = memory_readdirplus,
	.statfs = memory_statfs,
};

static int serve(struct fuse_session *session, const struct fuse_cmdline_opts *options)
{
	struct fuse_loop_config *config;
	int result;

	if (options->singlethread)
		return fuse_session_loop(session);
	config = fuse_loop_cfg_create(); /* libfuse's own defaults */
	result = fuse_session_loop_mt(session, config);
	fuse_loop_cfg_destroy(config);
	return result;
}

int main(int argc, char *argv[])
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct fuse_cmdline_opts options;
	struct fuse_session *session;
	int result = 1;

	root.attr.st_ino = 1;
	root.attr.st_mode = S_IFDIR | 0755;
	root.attr.st_nlink = 2;
	touch(&root, 1);
	if (fuse_parse_cmdline(&args, &options) || !options.mountpoint) {
		fprintf(stderr, "usage: %s MOUNTPOINT -f [-s] [-o OPTIONS]\n", argv[0]);
		return 2;
	}
	session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	if (session && !fuse_set_signal_handlers(session)) {
		if (!fuse_session_mount(session, options.mountpoint)) {
			result = serve(session, &options) ? 1 : 0;
			fuse_session_unmount(session);
		}
		fuse_remove_signal_handlers(session);
	}
	if (session)
		fuse_session_destroy(session);
	fuse_opt_free_args(&args);
	free(options.mountpoint);
	return result;
}
