{-# LANGUAGE OverloadedStrings #-}
-- | Accounts.
module Bank.Account (Account(..), total) where

import qualified Data.Map as M
import Data.List (sort)

-- | An account.
data Account = Account
  { accountId :: Int
  , accountName :: String
  } deriving (Show)

data Color = Red | Green Int
newtype Wrapper a = Wrap { unwrap :: a }
type Id = Int

class Shape a where
  area :: a -> Double
  area _ = 1

instance Shape Color where
  area Red = 1
  area (Green n) = fromIntegral n

-- | The sum.
total :: [Account] -> Int
total [] = 0
total (a:as) = accountId a + go as
  where
    go = total

(<+>) :: Int -> Int -> Int
a <+> b = a + b

data Expr a where
  IntE :: Int -> Expr Int

type family Elem c where
  Elem [e] = e

limit = 5
