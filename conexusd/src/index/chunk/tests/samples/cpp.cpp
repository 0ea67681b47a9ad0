#include <vector>
#include "buffer.h"

FMT_BEGIN_NAMESPACE
namespace detail {

template <typename T> class FMT_API Buffer : public Base<T> {
 public:
  Buffer() : size_(0) {}
  ~Buffer();
  T operator[](int i) const { return data_[i]; }
  virtual void push(T value) = 0;
  static const int kMax = 4;
  enum class Mode { Read, Write };

 private:
  int size_;
};

FMT_API int
vformat(int a) {
  return a;
}

/// Adds a value.
template <typename T>
void Buffer<T>::push(T value) {
  data_[size_++] = value;
}

Buffer<int>::~Buffer() {}
bool operator==(const A& a, const B& b) { return true; }
using Bytes = std::vector<char>;
constexpr int kSize = 4;
template <class T> concept Fooable = requires(T t) { t.foo(); };

namespace { void hidden() {} }
}  // namespace detail
FMT_END_NAMESPACE

TEST(BufferTest, GrowsWhenFull) {
  Buffer b;
  b.push(1);
}

extern "C" {
int c_entry(void) { return 0; }
}
auto trailing() -> int { return 1; }
class Derived final : public Base { int area() override; };
