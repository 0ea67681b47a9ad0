using System;
using static System.Math;
using Alias = Foo.Bar;

namespace Example.Accounts
{
    /// <summary>Keeps accounts.</summary>
    [Serializable]
    public partial class Account<T> : Base where T : class
    {
        public const int Max = 3;
        private readonly string _name;
        public string Name { get; set; }
        public event EventHandler Changed;

        public Account(string name) : base(name)
        {
            _name = name;
        }

        ~Account() { }

        [Test]
        public async Task<int> FindAsync(int id)
        {
            int Local() => 1;
            return await Load(id);
        }

        public static bool operator ==(Account<T> a, Account<T> b) => true;
        public int this[int i] => 1;
        public delegate void Handler(int id);
        enum Status { Open, Closed }
        struct Pair { }
        interface IListener { void OnChanged(); }
        record Entry(int Id);
    }
}
