/* Table: texts to token sequences, token sequences to vectors, and the training of both, in C because Python is too slow.
 *
 * Tokens and vectors are those that conexusd/src/index/embed/static_model.rs defines. Compiled by table.py.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES_MAX = 20, DIMS_MAX = 512, BLOCK_MAX = 512, BAG_MAX = 2048 };

/* ---- Tokens ---------------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t mask, longest;
    int32_t *slots; /* token number, -1 is empty */
    const char **tokens;
    uint32_t *lengths;
} Vocabulary;

static uint32_t hash_of(const char *text, uint32_t length) {
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < length; i++) hash = (hash ^ (uint8_t)text[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static int32_t find(const Vocabulary *v, const char *text, uint32_t length) {
    for (uint32_t at = hash_of(text, length) & v->mask;; at = (at + 1) & v->mask) {
        int32_t number = v->slots[at];
        if (number < 0) return -1;
        if (v->lengths[number] == length && !memcmp(v->tokens[number], text, length)) return number;
    }
}

Vocabulary *vocabulary_new(const char **tokens, uint32_t count) {
    Vocabulary *v = calloc(1, sizeof *v);
    uint32_t size = 1;
    while (size < count * 2) size *= 2;
    v->mask = size - 1;
    v->slots = malloc(size * sizeof *v->slots);
    memset(v->slots, 0xff, size * sizeof *v->slots);
    v->tokens = malloc(count * sizeof *v->tokens);
    v->lengths = malloc(count * sizeof *v->lengths);
    for (uint32_t n = 0; n < count; n++) {
        v->tokens[n] = strdup(tokens[n]);
        v->lengths[n] = (uint32_t)strlen(tokens[n]);
        if (v->lengths[n] > v->longest) v->longest = v->lengths[n];
        uint32_t at = hash_of(tokens[n], v->lengths[n]) & v->mask;
        while (v->slots[at] >= 0) at = (at + 1) & v->mask;
        v->slots[at] = (int32_t)n;
    }
    return v;
}

static int upper(char c) { return c >= 'A' && c <= 'Z'; }
static int lower(char c) { return c >= 'a' && c <= 'z'; }
static int digit(char c) { return c >= '0' && c <= '9'; }

/* Where the word that begins here ends: [A-Z]+(?![a-z]) | [A-Z]?[a-z]+ | [0-9]+; `at` itself where none begins. */
uint64_t word_end(const char *text, uint64_t at, uint64_t length) {
    uint64_t end = at;
    if (upper(text[at])) {
        while (end < length && upper(text[end])) end++;
        if (end == length || !lower(text[end])) return end;
        if (end - at > 1) return end - 1;
    }
    if (digit(text[at])) {
        while (end < length && digit(text[end])) end++;
        return end;
    }
    while (end < length && lower(text[end])) end++;
    return end;
}

/* Token numbers of a text, at most `most`; returns how many. */
uint64_t tokenize(const Vocabulary *v, const char *text, uint64_t length, uint16_t *out, uint64_t most) {
    uint64_t count = 0;
    char word[4096];
    for (uint64_t at = 0; at < length;) {
        uint64_t end = word_end(text, at, length);
        if (end == at) { at++; continue; }
        uint64_t size = end - at < sizeof word ? end - at : sizeof word;
        for (uint64_t i = 0; i < size; i++) word[i] = text[at + i] | 0x20;
        at = end;
        int32_t whole = size <= v->longest ? find(v, word, (uint32_t)size) : -1;
        if (whole >= 0) {
            if (count == most) return count;
            out[count++] = (uint16_t)whole;
            continue;
        }
        for (uint64_t from = 0; from < size;) {
            uint64_t piece = size - from < PIECE_BYTES_MAX ? size - from : PIECE_BYTES_MAX;
            int32_t number = -1;
            for (; piece > 0; piece--)
                if ((number = find(v, word + from, (uint32_t)piece)) >= 0) break;
            if (number < 0) { from++; continue; }
            if (count == most) return count;
            out[count++] = (uint16_t)number;
            from += piece;
        }
    }
    return count;
}

/* ---- Vectors --------------------------------------------------------------------------------------------------- */

typedef struct { uint32_t size; uint16_t token[BAG_MAX]; float factor[BAG_MAX]; } Bag;

static void bag_of(Bag *bag, const uint16_t *tokens, uint64_t count, uint32_t *place, uint32_t *stamp, uint32_t now) {
    bag->size = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t token = tokens[i];
        if (stamp[token] != now) {
            if (bag->size == BAG_MAX) continue;
            stamp[token] = now;
            place[token] = bag->size;
            bag->token[bag->size] = token;
            bag->factor[bag->size++] = 1;
        } else bag->factor[place[token]] += 1;
    }
    for (uint32_t i = 0; i < bag->size; i++) bag->factor[i] = sqrtf(bag->factor[i]);
}

static void sum_of(float *out, const Bag *bag, const float *rows, const float *weights, int width) {
    memset(out, 0, sizeof(float) * width);
    for (uint32_t i = 0; i < bag->size; i++) {
        const float *row = rows + (size_t)bag->token[i] * width;
        float factor = bag->factor[i] * weights[bag->token[i]];
        for (int k = 0; k < width; k++) out[k] += factor * row[k];
    }
}

static float dot(const float *a, const float *b, int width) {
    float sum = 0;
    for (int k = 0; k < width; k++) sum += a[k] * b[k];
    return sum;
}

static float normalize(float *v, int width) {
    float length = sqrtf(dot(v, v, width));
    if (length > 0) for (int k = 0; k < width; k++) v[k] /= length;
    return length;
}

/* Unit vectors of `count` token sequences, which lie one after the other and end at `ends`. */
void embed(const uint16_t *tokens, const uint64_t *ends, uint64_t count, const float *rows, const float *weights,
           uint32_t vocabulary, int width, float *out) {
    uint32_t *place = calloc(vocabulary, 4), *stamp = calloc(vocabulary, 4);
    Bag *bag = malloc(sizeof *bag);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t start = i ? ends[i - 1] : 0;
        bag_of(bag, tokens + start, ends[i] - start, place, stamp, (uint32_t)i + 1);
        sum_of(out + i * width, bag, rows, weights, width);
        normalize(out + i * width, width);
    }
    free(place); free(stamp); free(bag);
}

/* ---- Training -------------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t vocabulary; int32_t width;
    float *rows, *log_document, *log_query;               /* the model; weights are exp of these */
    float *row_mean, *row_square;                          /* Adam's state */
    float *document_mean, *document_square, *query_mean, *query_square;
    uint32_t *steps;                                       /* updates of each token */
    const uint16_t *query, *content, *path;                /* token sequences */
    const uint64_t *query_ends, *content_ends, *path_ends;
    const uint16_t *templates; const uint64_t *template_ends; uint32_t template_count;
    const uint16_t *variants; const uint64_t *variant_ends; /* other forms of a token */
    float rate, weight_rate, scale, drop_query, drop_content, template_share, variant_share, window_share, no_path_share, path_weight;
    uint64_t seed;
} Training;

static uint64_t random_next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}
static float chance(uint64_t *state) { return (float)(random_next(state) >> 40) * (1.0f / 16777216.0f); }

typedef struct { Bag query, content, path; float q[DIMS_MAX], c[DIMS_MAX], p[DIMS_MAX], d[DIMS_MAX], gq[DIMS_MAX], gd[DIMS_MAX];
                 float query_length, content_length, path_length, length; } Item;

/* The question with words dropped or in another form and a template before it; long ones are cut to their beginning or a part. */
static void vary_query(const Training *t, uint64_t *seed, uint64_t i, uint16_t *out, uint64_t *count) {
    uint64_t start = i ? t->query_ends[i - 1] : 0, size = t->query_ends[i] - start, most = BAG_MAX / 2;
    *count = 0;
    if (t->template_count && chance(seed) < t->template_share) {
        uint64_t n = random_next(seed) % t->template_count, from = n ? t->template_ends[n - 1] : 0;
        for (; from < t->template_ends[n]; from++) out[(*count)++] = t->templates[from];
    }
    if (size > 14 && chance(seed) < 0.6f) {
        uint64_t kept = 5 + random_next(seed) % 12;
        if (kept < size) {
            if (chance(seed) < 0.4f) start += random_next(seed) % (size - kept + 1);
            size = kept;
        }
    }
    for (uint64_t k = 0; k < size && *count < most; k++) {
        uint16_t token = t->query[start + k];
        if (size > 3 && chance(seed) < t->drop_query) continue;
        uint64_t from = token ? t->variant_ends[token - 1] : 0, forms = t->variant_ends[token] - from;
        if (forms && chance(seed) < t->variant_share) token = t->variants[from + random_next(seed) % forms];
        out[(*count)++] = token;
    }
}

/* The code, or a window of it, with words dropped. */
static void vary_content(const Training *t, uint64_t *seed, uint64_t i, uint16_t *out, uint64_t *count) {
    uint64_t start = i ? t->content_ends[i - 1] : 0, size = t->content_ends[i] - start;
    *count = 0;
    if (size > 60 && chance(seed) < t->window_share) {
        uint64_t kept = size / 2 + random_next(seed) % (size / 2);
        start += random_next(seed) % (size - kept + 1);
        size = kept;
    }
    for (uint64_t k = 0; k < size && *count < BAG_MAX; k++)
        if (chance(seed) >= t->drop_content) out[(*count)++] = t->content[start + k];
}

/* Gradient through v = s / |s|, times a factor, into s. */
static void back_normalize(float *gradient, const float *unit, float length, int width) {
    if (length <= 0) { memset(gradient, 0, sizeof(float) * width); return; }
    float along = dot(gradient, unit, width);
    for (int k = 0; k < width; k++) gradient[k] = (gradient[k] - along * unit[k]) / length;
}

/* Loss and gradients of one block at one number of dimensions: softmax over the block both ways. */
static double block_loss(Item *items, int count, int dims, float scale, float share, float *scores, float *unit_q, float *unit_d) {
    float length_q[BLOCK_MAX], length_d[BLOCK_MAX];
    for (int i = 0; i < count; i++) {
        memcpy(unit_q + i * dims, items[i].q, dims * 4);
        memcpy(unit_d + i * dims, items[i].d, dims * 4);
        length_q[i] = normalize(unit_q + i * dims, dims);
        length_d[i] = normalize(unit_d + i * dims, dims);
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) scores[i * count + j] = scale * dot(unit_q + i * dims, unit_d + j * dims, dims);
    static _Thread_local float gradient[BLOCK_MAX * BLOCK_MAX];
    memset(gradient, 0, sizeof(float) * count * count);
    double loss = 0;
    for (int way = 0; way < 2; way++) {
        float part = way ? 0.3f : 0.7f;
        int across = way ? count : 1, along = way ? 1 : count;
        for (int i = 0; i < count; i++) {
            float most = -1e30f, sum = 0;
            for (int j = 0; j < count; j++) most = fmaxf(most, scores[i * along + j * across]);
            for (int j = 0; j < count; j++) sum += expf(scores[i * along + j * across] - most);
            loss += part * (most + logf(sum) - scores[i * along + i * across]);
            for (int j = 0; j < count; j++)
                gradient[i * along + j * across] += part * (expf(scores[i * along + j * across] - most) / sum - (i == j));
        }
    }
    float g[DIMS_MAX];
    for (int i = 0; i < count; i++) {
        memset(g, 0, sizeof g);
        for (int j = 0; j < count; j++) {
            float f = gradient[i * count + j] * scale * share;
            for (int k = 0; k < dims; k++) g[k] += f * unit_d[j * dims + k];
        }
        back_normalize(g, unit_q + i * dims, length_q[i], dims);
        for (int k = 0; k < dims; k++) items[i].gq[k] += g[k];
        memset(g, 0, sizeof g);
        for (int j = 0; j < count; j++) {
            float f = gradient[j * count + i] * scale * share;
            for (int k = 0; k < dims; k++) g[k] += f * unit_q[j * dims + k];
        }
        back_normalize(g, unit_d + i * dims, length_d[i], dims);
        for (int k = 0; k < dims; k++) items[i].gd[k] += g[k];
    }
    return share * loss / count;
}

typedef struct { float *rows, *document, *query; uint8_t *touched; uint32_t *list, size; } Gradients;

static void back_bag(Gradients *g, const Training *t, const Bag *bag, const float *gradient, const float *weights, float *log_weights) {
    int width = t->width;
    for (uint32_t i = 0; i < bag->size; i++) {
        uint16_t token = bag->token[i];
        float factor = bag->factor[i] * weights[token];
        float *row = g->rows + (size_t)token * width;
        if (!g->touched[token]) { g->touched[token] = 1; g->list[g->size++] = token; }
        for (int k = 0; k < width; k++) row[k] += factor * gradient[k];
        log_weights[token] += factor * dot(gradient, t->rows + (size_t)token * width, width);
    }
}

static void adam(float *value, float *gradient, float *mean, float *square, float rate, uint32_t step, int width) {
    float fix_mean = 1 / (1 - powf(0.9f, (float)step)), fix_square = 1 / (1 - powf(0.99f, (float)step));
    for (int k = 0; k < width; k++) {
        float g = gradient[k];
        mean[k] = 0.9f * mean[k] + 0.1f * g;
        square[k] = 0.99f * square[k] + 0.01f * g * g;
        value[k] -= rate * mean[k] * fix_mean / (sqrtf(square[k] * fix_square) + 1e-8f);
        gradient[k] = 0;
    }
}

/* One pass over `order`, in blocks of `block` and updates of `batch` pairs; `rates` scales the learning rate of each update. Returns the mean loss. */
double train(Training *t, const uint32_t *order, uint64_t count, int block, int batch, const float *rates) {
    uint32_t V = t->vocabulary; int width = t->width;
    Gradients g = { calloc((size_t)V * width, 4), calloc(V, 4), calloc(V, 4), calloc(V, 1), malloc(V * 4), 0 };
    uint32_t *place = calloc(V, 4), *stamp = calloc(V, 4), now = 0;
    float *document = malloc(V * 4), *query = malloc(V * 4);
    Item *items = malloc(sizeof(Item) * block);
    float *scores = malloc(4 * block * block), *unit_q = malloc(4 * block * width), *unit_d = malloc(4 * block * width);
    uint16_t *text = malloc(2 * BAG_MAX * 2);
    uint64_t seed = t->seed, pending = 0, update = 0, blocks = 0, length;
    double loss = 0;
    for (uint32_t n = 0; n < V; n++) { document[n] = expf(t->log_document[n]); query[n] = expf(t->log_query[n]); }
    for (uint64_t from = 0; from + block <= count; from += block) {
        for (int i = 0; i < block; i++) {
            Item *it = items + i;
            uint64_t n = order[from + i];
            vary_query(t, &seed, n, text, &length);
            bag_of(&it->query, text, length, place, stamp, ++now);
            vary_content(t, &seed, n, text, &length);
            bag_of(&it->content, text, length, place, stamp, ++now);
            uint64_t start = n ? t->path_ends[n - 1] : 0;
            bag_of(&it->path, t->path + start, chance(&seed) < t->no_path_share ? 0 : t->path_ends[n] - start, place, stamp, ++now);
            sum_of(it->q, &it->query, t->rows, query, width);
            it->query_length = normalize(it->q, width);
            sum_of(it->c, &it->content, t->rows, document, width);
            it->content_length = normalize(it->c, width);
            sum_of(it->p, &it->path, t->rows, document, width);
            it->path_length = normalize(it->p, width);
            for (int k = 0; k < width; k++) it->d[k] = it->c[k] + t->path_weight * it->p[k];
            it->length = normalize(it->d, width);
            memset(it->gq, 0, sizeof it->gq);
            memset(it->gd, 0, sizeof it->gd);
        }
        loss += block_loss(items, block, width, t->scale, 0.6f, scores, unit_q, unit_d);
        if (width >= 128) loss += block_loss(items, block, width / 2, t->scale, 0.25f, scores, unit_q, unit_d);
        if (width >= 256) loss += block_loss(items, block, width / 4, t->scale, 0.15f, scores, unit_q, unit_d);
        blocks++;
        for (int i = 0; i < block; i++) {
            Item *it = items + i;
            float gp[DIMS_MAX];
            back_normalize(it->gq, it->q, it->query_length, width);
            back_bag(&g, t, &it->query, it->gq, query, g.query);
            back_normalize(it->gd, it->d, it->length, width);
            for (int k = 0; k < width; k++) gp[k] = t->path_weight * it->gd[k];
            back_normalize(it->gd, it->c, it->content_length, width);
            back_bag(&g, t, &it->content, it->gd, document, g.document);
            back_normalize(gp, it->p, it->path_length, width);
            back_bag(&g, t, &it->path, gp, document, g.document);
        }
        pending += block;
        if (pending < (uint64_t)batch && from + 2 * block <= count) continue;
        for (uint32_t i = 0; i < g.size; i++) {
            uint32_t n = g.list[i];
            uint32_t step = ++t->steps[n];
            adam(t->rows + (size_t)n * width, g.rows + (size_t)n * width, t->row_mean + (size_t)n * width,
                 t->row_square + (size_t)n * width, t->rate * rates[update], step, width);
            adam(t->log_document + n, g.document + n, t->document_mean + n, t->document_square + n, t->weight_rate * rates[update], step, 1);
            adam(t->log_query + n, g.query + n, t->query_mean + n, t->query_square + n, t->weight_rate * rates[update], step, 1);
            document[n] = expf(t->log_document[n]);
            query[n] = expf(t->log_query[n]);
            g.touched[n] = 0;
        }
        g.size = 0; pending = 0; update++;
    }
    free(g.rows); free(g.document); free(g.query); free(g.touched); free(g.list); free(place); free(stamp);
    free(document); free(query); free(items); free(scores); free(unit_q); free(unit_d); free(text);
    return blocks ? loss / blocks : 0;
}
