import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import { testNumeric } from "./numeric.case.ts";

testNumeric(referenceRowMath);
