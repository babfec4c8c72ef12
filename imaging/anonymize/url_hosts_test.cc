#include "imaging/anonymize/url_hosts.h"

#include <gtest/gtest.h>

namespace narthex::anonymize {
namespace {

TEST(UrlHostsTest, AllowsAHostAtItsDefaultPortAndAPortByName) {
  const std::set<std::string> hosts = {"a.example", "b.example:8080", "[::1]:9000"};
  for (const char* url : {"http://a.example/x", "https://a.example", "HTTPS://A.Example:443/?q",
                          "http://a.example:80/", "http://b.example:8080/x", "http://[::1]:9000/x"}) {
    EXPECT_TRUE(IsAllowedUrl(url, hosts)) << url;
  }
  for (const char* url :
       {"http://a.example:8080/", "https://a.example:80/", "http://b.example/", "http://c.example/",
        "ftp://a.example/", "http://a.example@c.example/", "http://user:a.example@c.example/",
        "http://c.example\\@a.example/", "http://a.example.c.example/", "http://[::1]/", "http:///a.example",
        "a.example", "http://a.example:0/", "http://a.example:99999/", "http://a.example:/",
        "http://a example/", "javascript:http://a.example/", ""}) {
    EXPECT_FALSE(IsAllowedUrl(url, hosts)) << url;
  }
  EXPECT_FALSE(IsAllowedUrl("http://a.example/", {}));
}

TEST(UrlHostsTest, KnowsEntries) {
  for (const char* entry : {"a.example", "a-b.example:80", "10.0.0.1", "[::1]", "[fe80::1]:8443"})
    EXPECT_TRUE(IsUrlHost(entry)) << entry;
  for (const char* entry :
       {"", "http://a.example", "a.example/", "A.example", "a.example:", "a:b", "[::1", "*.example"})
    EXPECT_FALSE(IsUrlHost(entry)) << entry;
}

}  // namespace
}  // namespace narthex::anonymize
